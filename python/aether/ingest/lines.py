"""NDJSON out of pieces of bytes: whole lines at a time, without looking at each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aether.ingest.chunks import NO_RECORD, RECORD_BYTES_MAX, Chunk

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from aether.ingest.reading import Reading

__all__ = ["BYTE_ORDER_MARK", "LineSource"]

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
TOO_LONG = f"longer than {RECORD_BYTES_MAX:,} bytes"


class LineSource:
    """The lines of an input.

    Args:
        reading: the input's bytes.

    Attributes:
        heading: see `Source`; lines have none.
    """

    heading = b""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading
        self._next = 1
        self._rest: list[bytes] = []
        self._rest_bytes = 0

    @property
    def size(self) -> int | None:
        """The file's bytes; None for a pipe."""
        return self._reading.size

    @property
    def done(self) -> int:
        """How many of them were read."""
        return self._reading.done

    async def chunks(self) -> AsyncGenerator[Chunk]:
        """Yield the lines that are there, as `Source.chunks` does, a chunk for what one read has brought."""
        async for piece in self._reading.pieces():
            for chunk in self._feed(piece):
                yield chunk
        if self._rest_bytes:
            yield self._chunk(b"".join(self._rest), self._rest_bytes)

    def _feed(self, piece: bytes) -> list[Chunk]:
        """Return the lines that this piece ends: the first by itself if it is long, the others together."""
        first = piece.find(b"\n") + 1
        if not first:
            self._keep(piece)
            return []
        self._keep(piece[:first])
        size, self._rest_bytes = self._rest_bytes, 0
        parts, self._rest = self._rest, []
        last = piece.rfind(b"\n") + 1
        self._keep(piece[last:])
        if size - 1 > RECORD_BYTES_MAX:
            chunks = [self._chunk(b"", size)]
            return [*chunks, self._chunk(piece[first:last], 0)] if last > first else chunks
        return [self._chunk(b"".join([*parts, piece[first:last]]), 0)]

    def _keep(self, part: bytes) -> None:
        """Keep a part of a line; of one that is too long nothing is kept."""
        self._rest_bytes += len(part)
        # With one byte to spare, for the line's end.
        if self._rest_bytes > RECORD_BYTES_MAX + 1:
            self._rest = []
        elif part:
            self._rest.append(part)

    def _chunk(self, content: bytes, size: int) -> Chunk:
        number = self._next
        if size > RECORD_BYTES_MAX:
            self._next += 1
            return Chunk(number, NO_RECORD + b"\n", {number: TOO_LONG}, {number: None})
        if number == 1:
            content = content.removeprefix(BYTE_ORDER_MARK)
        self._next += content.count(b"\n")
        return Chunk(number, content)
