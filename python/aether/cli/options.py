"""The options that every command takes."""

from __future__ import annotations

import functools
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import click

from aether._native import check_actor_id
from aether.cli.login_options import login_options, options_from
from aether.errors import InvalidIdError
from aether.nats.connection import Connection
from aether.nats.server import parse_embedded_url
from aether.nats.server_files import describe_sync
from aether.nats.subjects import check_namespace
from aether.store.arguments import TIMEOUT_S_MAX

if TYPE_CHECKING:
    from collections.abc import Callable

    from aether.nats.connect_options import ConnectOptions

__all__ = ["Settings", "actor_argument", "directory_of", "directory_option", "shared_options", "sync_option"]

DEFAULT_URL = "nats://127.0.0.1:4222"
URL_VARIABLE = "AETHER_URL"


class Settings(NamedTuple):
    """What the shared options say.

    Attributes:
        url: where the server is; None: the option was not given, for the commands that have a server of their own.
        namespace: the namespace.
        timeout_s: what each call may take, in seconds.
        as_json: print JSON only.
        options: how to log in, and whom to trust; None: as the URL says.
    """

    url: str | None
    namespace: str
    timeout_s: float
    as_json: bool
    options: ConnectOptions | None = None


def _url(_context: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    if value is not None:
        try:
            Connection(value, 1.0)  # it connects at first use only, and knows what a URL is
        except ValueError as error:
            raise click.BadParameter(str(error)) from error
    return value


def _options(url: str | None, given: dict[str, Any]) -> ConnectOptions | None:
    try:
        options = options_from(given)
        if url is not None:
            Connection(url, 1.0, options)
    except ValueError as error:
        raise click.UsageError(f"{error}.", click.get_current_context()) from error
    return options


def _timeout(_context: click.Context, _option: click.Parameter, value: float) -> float:
    if math.isnan(value):
        raise click.BadParameter("not a number of seconds")
    return value


def _namespace(_context: click.Context, _parameter: click.Parameter, value: str) -> str:
    try:
        return check_namespace(value)
    except InvalidIdError as error:
        raise click.BadParameter(str(error)) from error


def _actor(_context: click.Context, _parameter: click.Parameter, value: str) -> str:
    try:
        check_actor_id(value)
    except InvalidIdError as error:
        raise click.BadParameter(str(error)) from error
    return value


class _Sync(click.ParamType[Literal["always"] | float]):
    """The word "always", or a number of seconds."""

    name = "always|SECONDS"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Literal["always"] | float:
        """Return what `EmbeddedServer` takes."""
        if value == "always":
            return "always"
        try:
            seconds = float(str(value))
            describe_sync(seconds)
        except ValueError:
            self.fail(f'{value!r} is neither "always" nor 0.001 to 86400 seconds', param, ctx)
        return seconds


def shared_options(*, own_server: bool = False) -> Callable[[Callable[..., int]], Callable[..., int]]:
    """Give a command the shared options; it gets them as one `Settings`, first.

    Args:
        own_server: the command brings its own server, so there is no URL unless one is typed.
    """
    if own_server:
        url = click.option("--url", callback=_url, metavar="embedded:DIR", help="The same as --dir DIR.")
    else:
        url = click.option(
            "--url",
            callback=_url,
            default=DEFAULT_URL,
            envvar=URL_VARIABLE,
            show_default=True,
            show_envvar=True,
            metavar="URL",
            help="The server: nats://HOST:PORT, several joined by commas, or embedded:DIR for one of its own.",
        )

    def decorate(command: Callable[..., int]) -> Callable[..., int]:
        @functools.wraps(command)
        def with_settings(url: str | None, namespace: str, timeout_s: float, as_json: bool, **rest: Any) -> int:  # noqa: ANN401 - click's
            return command(Settings(url, namespace, timeout_s, as_json, _options(url, rest)), **rest)

        for option in (
            click.option("--json", "as_json", is_flag=True, help="Print JSON only, for programs."),
            click.option(
                "--timeout",
                "timeout_s",
                type=click.FloatRange(min=0, min_open=True, max=TIMEOUT_S_MAX),
                callback=_timeout,
                default=10.0,
                show_default=True,
                metavar="SECONDS",
                help="What each call to the server may take.",
            ),
            click.option(
                "--namespace", callback=_namespace, default="default", show_default=True, metavar="NAME", help="The namespace."
            ),
            url,
        ):
            with_settings = option(with_settings)
        return with_settings if own_server else login_options(with_settings)

    return decorate


def actor_argument(command: Callable[..., int]) -> Callable[..., int]:
    """Give a command the argument ACTOR."""
    return click.argument("actor_id", metavar="ACTOR", callback=_actor)(command)


def directory_option(command: Callable[..., int]) -> Callable[..., int]:
    """Give a command the option --dir."""
    return click.option(
        "--dir",
        "directory",
        type=click.Path(file_okay=False, path_type=Path),
        metavar="DIR",
        help="Where the server keeps its data, and leaves it; without, in a temporary directory.",
    )(command)


def sync_option(command: Callable[..., int]) -> Callable[..., int]:
    """Give a command the option --sync."""
    return click.option(
        "--sync",
        type=_Sync(),
        default="always",
        show_default=True,
        metavar="always|SECONDS",
        help="When acked data is on the disk itself: before the ack, or within so many seconds (faster).",
    )(command)


def directory_of(settings: Settings, directory: Path | None) -> Path | None:
    """Return the directory for a command's own server, from --dir or an embedded URL; None: a temporary one.

    Raises:
        click.UsageError: the URL names a server that is not this command's to start and kill, or both are given.
    """
    if settings.url is None:
        return directory
    named = parse_embedded_url(settings.url)
    if named is None:
        raise click.UsageError(
            "This command runs a server of its own, so --url can only be embedded:DIR.", click.get_current_context()
        )
    if directory is not None:
        raise click.UsageError("--dir and --url name the same thing; leave one out.", click.get_current_context())
    return named
