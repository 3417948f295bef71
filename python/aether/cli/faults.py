"""What a fault looks like on the terminal: one line that says what happened and what to type next, and an exit code."""

from __future__ import annotations

import os
import sys

import click
import msgspec

from aether.errors import (
    AccessDeniedError,
    AetherError,
    CommitTooLargeError,
    DeadlineError,
    InvalidIdError,
    NamespaceMismatchError,
    OutcomeUnknownError,
    StoreDirectoryInUseError,
)

__all__ = ["FAILED", "INTERRUPTED", "PIPE_CLOSED", "TERMINATED", "USAGE", "report_fault", "shown", "told"]

FAILED = 1
USAGE = 2
INTERRUPTED = 130
PIPE_CLOSED = 141
"""What a shell shows of a program whose reader went away."""
TERMINATED = 143
"""What a shell shows of a program that was told to end, by SIGTERM."""

_HINTS: tuple[tuple[type[Exception], str], ...] = (
    (OutcomeUnknownError, "run the same command again"),
    (DeadlineError, "on the command line that is --timeout SECONDS"),
    (AccessDeniedError, "type the URL as nats://USER:PASSWORD@HOST:PORT"),
    (NamespaceMismatchError, "another namespace: --namespace NAME"),
    (StoreDirectoryInUseError, "its URL: --url nats://HOST:PORT"),
    (CommitTooLargeError, "for an embedded server of yours: EmbeddedServer(settings={'max_payload': BYTES})"),
)


def report_fault(error: BaseException, *, as_json: bool) -> int:
    """Say what happened, on stderr and with `as_json` also on stdout; return the exit code."""
    sys.stderr.write(f"aether: {_message(error)}\n")
    if as_json:
        sys.stdout.write(msgspec.json.encode({"error": told(error)}).decode() + "\n")
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED
    return USAGE if isinstance(error, (click.UsageError, InvalidIdError)) else FAILED


def told(error: BaseException) -> dict[str, str]:
    """Return a fault as JSON tells it."""
    return {"type": type(error).__name__, "message": _message(error)}


def _message(error: BaseException) -> str:
    """Return the message in one line."""
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    if isinstance(error, click.ClickException):
        context = getattr(error, "ctx", None)
        command = context.command_path if isinstance(context, click.Context) else "aether"
        return f"{_one_line(error.format_message()).rstrip('.')}; to see how: {command} --help"
    if isinstance(error, AetherError):
        hint = next((f" ({text})" for kind, text in _HINTS if isinstance(error, kind)), "")
        return f"{_one_line(str(error))}{hint}"
    if isinstance(error, OSError):
        where = "" if error.filename is None else f"{os.fsdecode(error.filename)}: "
        return _one_line(f"{where}{error.strerror or error}; check the path and what you may do there")
    return _one_line(str(error))


def _one_line(text: str) -> str:
    return shown(" ".join(text.split()))


def shown(text: str) -> str:
    """Return text that is safe on a terminal: what is not printable stands as its escape."""
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text)
