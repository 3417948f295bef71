"""Errors of what events are made of: names, data, and bytes that were written elsewhere."""

from __future__ import annotations

from aether.errors.base import AetherError

__all__ = ["DecodeError", "EncodeError", "InvalidIdError", "UnknownFormatError"]


class InvalidIdError(AetherError, ValueError):
    """A name that is empty, too long, or cannot be written as UTF-8.

    Attributes:
        what: which name it is, as "actor_id" or "namespace".
        value: the name as given.
        reason: what is wrong with it, and what is allowed.
    """

    def __init__(self, what: str, value: str, reason: str) -> None:
        super().__init__(what, value, reason)
        self.what, self.value, self.reason = what, value, reason

    def __str__(self) -> str:
        shown = self.value if len(self.value) <= 60 else self.value[:57] + "..."  # noqa: PLR2004 - a line of a terminal
        return f"{self.what} {shown!a}: {self.reason}"


class EncodeError(AetherError, ValueError):
    """A value that event data may not hold.

    Attributes:
        path: where it stands, as "data.items[3].price".
        reason: what it is, and what to use instead.
    """

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(path, reason)
        self.path, self.reason = path, reason

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


class DecodeError(AetherError, ValueError):
    """Bytes that are not valid msgpack, break a limit, or do not fit the type asked for.

    Attributes:
        offset: the byte where it was noticed, from 0; -1 where no single byte is to blame.
        reason: what is wrong.
    """

    def __init__(self, offset: int, reason: str) -> None:
        super().__init__(offset, reason)
        self.offset, self.reason = offset, reason

    def __str__(self) -> str:
        return self.reason if self.offset < 0 else f"byte {self.offset}: {self.reason}"


class UnknownFormatError(DecodeError):
    """A message in a format that this version of Aether does not read, most likely a later one; it may well be whole.

    Attributes:
        offset: the byte where the format is written, from 0.
        format: the format's number.
    """

    def __init__(self, offset: int, format: int) -> None:  # noqa: A002 - the key's name in the message
        super().__init__(offset, f"format {format}; this version of Aether reads format 1, use one that reads it")
        self.args = (offset, format)
        self.format = format
