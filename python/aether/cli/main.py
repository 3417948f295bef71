"""The command `aether`: its subcommands, and the one place where faults become a line and an exit code."""

from __future__ import annotations

import asyncio
import importlib.metadata
import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

import click

from aether.cli.faults import FAILED, PIPE_CLOSED, report_fault
from aether.errors import AetherError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["run"]

CALLED = {"import": "import_"}
"""Modules, and commands in them, that Python does not let have the name that is typed."""


class _Commands(click.Group):
    """Imports a command's module when that command is typed: a bench needs much that an import would wait for at its start."""

    def __init__(self, *, names: Sequence[str], **given: Any) -> None:  # noqa: ANN401 - click's
        super().__init__(**given)
        self._names = names

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's
        """Return the names of all commands."""
        return list(self._names)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's
        """Return a command, or None if there is none of that name."""
        if cmd_name not in self._names:
            return None
        attribute = CALLED.get(cmd_name, cmd_name)
        command: click.Command = getattr(import_module(f"aether.cli.{attribute}"), attribute)
        return command


@click.group(
    cls=_Commands,
    names=("bench", "cluster", "demo", "dev", "export", "import", "repair", "show"),
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="A first look: aether demo",
)
@click.version_option(importlib.metadata.version("aether-events"), message="aether %(version)s")
def aether() -> None:
    """Event-sourcing primitives on NATS JetStream."""


def run(arguments: list[str] | None = None) -> int:
    """Run a command line (by default the process's own) and return the exit code."""
    typed = sys.argv[1:] if arguments is None else arguments
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # a TextIO that has it
    try:
        code = _invoke(typed)
        sys.stdout.flush()
    except BrokenPipeError:
        _print_no_more()  # whoever read has enough
        return PIPE_CLOSED
    except asyncio.CancelledError:  # a second Ctrl-C, where the first lets things finish
        return _report(KeyboardInterrupt(), typed)
    except (AetherError, OSError, KeyboardInterrupt, click.ClickException) as error:
        return _report(error, typed)
    return code


def _report(error: BaseException, typed: list[str]) -> int:
    try:
        code = report_fault(error, as_json="--json" in typed)
        sys.stdout.flush()
    except OSError:
        _print_no_more()  # it is full or gone; standard error has the line
        return FAILED
    return code


def _print_no_more() -> None:
    """Let what is still buffered go nowhere, so that the interpreter's last flush succeeds."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _invoke(typed: list[str]) -> int:
    try:
        with aether.make_context("aether", list(typed)) as context:
            code: int | None = aether.invoke(context)
            return code or 0
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(f"{error.format_message()}\n")
        return 0
    except click.exceptions.Exit as end:
        return end.exit_code
