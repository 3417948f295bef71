"""Numbered lines out of a file or a pipe, plain or gzip, in bounded memory and without blocking the event loop.

Bytes are read with `os.read`, from a regular file in a thread and from anything else when the loop says that there are some:
so a pipe that is silent for ever neither blocks the loop nor leaves a thread behind that nobody can end.
"""

from __future__ import annotations

import asyncio
import os
import stat
import zlib
from typing import TYPE_CHECKING, NamedTuple

from aether.errors import AetherError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

__all__ = ["LINE_BYTES_MAX", "Line", "LineSource"]

LINE_BYTES_MAX = 8 * 2**20
"""The longest line: the largest event's data has a million bytes, and JSON may write one byte as six characters."""

CHUNK_BYTES = 256 * 2**10
GZIP_MAGIC = b"\x1f\x8b"
GZIP_WINDOW_BITS = 31
BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class Line(NamedTuple):
    """One line.

    Attributes:
        number: its place in the input, from 1.
        content: its bytes without the line's end; None: it is longer than `LINE_BYTES_MAX`, and its bytes were let go.
    """

    number: int
    content: bytes | None


class LineSource:
    """The lines of an open file.

    Args:
        descriptor: the open file's descriptor; it stays the caller's, who closes it.
        name: what to call it in messages.

    Attributes:
        size: the file's bytes as they lie on the disk; None for a pipe.
        bytes_read: how many of them were read so far.
    """

    def __init__(self, descriptor: int, name: str) -> None:
        about = os.fstat(descriptor)
        self._descriptor = descriptor
        self._name = name
        self._regular = stat.S_ISREG(about.st_mode)
        self.size = about.st_size if self._regular else None
        self.bytes_read = 0

    async def batches(self) -> AsyncIterator[list[Line]]:
        """Yield the lines that are there, in batches of what one read has brought; blank lines are counted and left out.

        Raises:
            AetherError: the gzip data is damaged or ends early; all lines in front of that place were yielded.
            OSError: the file cannot be read.
        """
        splitter = _Splitter()
        unpacked: _Unpacked | None = None
        head = b""
        while chunk := await self._read():
            if unpacked is None:
                # A pipe may bring its first bytes one by one.
                head += chunk
                if len(head) < len(BYTE_ORDER_MARK):
                    continue
                chunk, unpacked = head, _Unpacked(self._name, zipped=head.startswith(GZIP_MAGIC))
            for part in unpacked.feed(chunk):
                if lines := splitter.feed(part):
                    yield lines
        if unpacked is not None:
            unpacked.end()
        elif head and (lines := splitter.feed(head)):
            yield lines
        if lines := splitter.end():
            yield lines

    async def _read(self) -> bytes:
        if not self._regular:
            await self._readable()
        chunk = await asyncio.to_thread(os.read, self._descriptor, CHUNK_BYTES) if self._regular else self._read_now()
        self.bytes_read += len(chunk)
        return chunk

    def _read_now(self) -> bytes:
        return os.read(self._descriptor, CHUNK_BYTES)

    async def _readable(self) -> None:
        loop = asyncio.get_running_loop()
        ready: asyncio.Future[None] = loop.create_future()
        try:
            loop.add_reader(self._descriptor, _wake, ready)
        except PermissionError:
            return  # a device that cannot be waited for, as /dev/null: it answers at once
        try:
            await ready
        finally:
            loop.remove_reader(self._descriptor)


def _wake(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)


class _Unpacked:
    """The bytes of a plain or gzip stream, given in pieces of bounded size however well they were packed."""

    def __init__(self, name: str, *, zipped: bool) -> None:
        self._name = name
        self._zipped = zipped
        self._inflate = zlib.decompressobj(GZIP_WINDOW_BITS)

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        if not self._zipped:
            yield chunk
            return
        while chunk:
            if self._inflate.eof:
                # Files may hold several gzip members, one after another, and end in zeros.
                chunk = chunk.lstrip(b"\0")
                if not chunk:
                    return
                self._inflate = zlib.decompressobj(GZIP_WINDOW_BITS)
            try:
                part = self._inflate.decompress(chunk, CHUNK_BYTES)
            except zlib.error as error:
                raise AetherError(f"{self._name}: the gzip data is damaged ({error}); check the file with: gzip -t") from error
            if part:
                yield part
            chunk = self._inflate.unused_data if self._inflate.eof else self._inflate.unconsumed_tail

    def end(self) -> None:
        if self._zipped and not self._inflate.eof:
            raise AetherError(f"{self._name}: the gzip data ends early; check the file with: gzip -t")


class _Splitter:
    """Cuts pieces of bytes into numbered lines, and lets go of the bytes of a line that is too long."""

    def __init__(self) -> None:
        self._number = 0
        self._rest: list[bytes] = []
        self._rest_bytes = 0

    def feed(self, part: bytes) -> list[Line]:
        *ended, rest = part.split(b"\n")
        lines = []
        for piece in ended:
            self._add(piece)
            lines += self.end()
        self._add(rest)
        return lines

    def end(self) -> list[Line]:
        """End the line; return it, or nothing if it is blank."""
        content, size = b"".join(self._rest), self._rest_bytes
        self._rest, self._rest_bytes = [], 0
        self._number += 1
        if self._number == 1:
            content = content.removeprefix(BYTE_ORDER_MARK)
        if size > LINE_BYTES_MAX:
            return [Line(self._number, None)]
        return [Line(self._number, content)] if content.strip() else []

    def _add(self, piece: bytes) -> None:
        self._rest_bytes += len(piece)
        if self._rest_bytes > LINE_BYTES_MAX:
            self._rest = []
        else:
            self._rest.append(piece)
