"""The options that say who we are and whom we trust: files, as secrets have no place on a command line."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from aether.nats.connect_options import ConnectOptions

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["login_options", "options_from"]

_OPTIONS = (
    ("--creds", "AETHER_CREDS", "A credentials file: a JWT and its seed, as nsc makes it."),
    ("--nkey", "AETHER_NKEY", "A file with a user's nkey seed."),
    ("--tls-ca", "AETHER_TLS_CA", "Trust the certificate authorities in this file, and speak TLS only."),
    ("--tls-cert", "AETHER_TLS_CERT", "The client certificate, and speak TLS only."),
    ("--tls-key", "AETHER_TLS_KEY", "The client certificate's key, if it is not in the same file."),
)


def login_options(command: Callable[..., int]) -> Callable[..., int]:
    """Give a command the options; `options_from` takes them out of its arguments."""
    for name, variable, text in reversed(_OPTIONS):
        file: click.Path[Path] = click.Path(exists=True, dir_okay=False, path_type=Path)
        command = click.option(name, type=file, envvar=variable, show_envvar=True, metavar="FILE", help=text)(command)
    return command


def options_from(given: dict[str, Any]) -> ConnectOptions | None:
    """Take what `login_options` brought out of a command's arguments; None where nothing was typed.

    Raises:
        ValueError: they contradict each other, or a file does not hold what it should.
    """
    creds, nkey, authorities, certificate, key = (given.pop(name[2:].replace("-", "_"), None) for name, _, _ in _OPTIONS)
    if creds and nkey:
        raise ValueError("--creds and --nkey are different ways to log in; give one of them")
    if key and not certificate:
        raise ValueError("--tls-key is the key of a certificate; name that with --tls-cert")
    if not any((creds, nkey, authorities, certificate)):
        return None
    tls = _context(authorities, certificate, key) if authorities or certificate else None
    return ConnectOptions(user_credentials=creds, nkeys_seed=nkey, tls=tls)


def _context(authorities: Path | None, certificate: Path | None, key: Path | None) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=authorities)
    except ssl.SSLError as error:
        raise ValueError(f"--tls-ca: {authorities} holds no certificate in PEM form") from error
    if certificate:
        try:
            context.load_cert_chain(certificate, key, password=_refuse_encrypted)
        except ssl.SSLError as error:
            raise ValueError(f"--tls-cert: {certificate} and {key or 'the key in it'} are no pair in PEM form") from error
    return context


def _refuse_encrypted() -> str:
    # OpenSSL would ask at the terminal, where a program may wait for ever.
    raise ValueError("--tls-key: the key is encrypted; openssl pkey -in KEY -out PLAIN makes one that is not")
