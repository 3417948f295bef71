"""The seam between an input's form and what becomes of its records.

Whatever an input is (NDJSON, CSV, CloudEvents, Parquet), its source gives chunks of NDJSON, a record a line, whose lines have the
numbers that the records have in the input.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

__all__ = ["NO_RECORD", "RECORD_BYTES_MAX", "Chunk", "Source"]

RECORD_BYTES_MAX = 8 * 2**20
"""The longest record: the largest event's data has a million bytes, and JSON may write one byte as six characters."""

NO_RECORD = b"!"
"""What stands in a chunk in place of what its source could make no record of; `Chunk.problems` says why."""


class Chunk(NamedTuple):
    """Records that follow one another.

    Attributes:
        number: the number of the first line, from 1.
        content: whole lines of NDJSON, each but the last with its end; blank ones count and are no records.
        problems: why there is no record, by number.
        originals: what stands in the input, by number, where that is not the line itself; None: its bytes were let go.
    """

    number: int
    content: bytes
    problems: dict[int, str] = {}  # noqa: RUF012 - nobody writes to it
    originals: dict[int, bytes | None] = {}  # noqa: RUF012 - nor to this


class Source(Protocol):
    """An input, whatever its form."""

    @property
    def size(self) -> int | None:
        """Its size, in bytes or in rows, as it counts; None: it is not known."""
        ...

    @property
    def done(self) -> int:
        """How many of them were read so far."""
        ...

    @property
    def heading(self) -> bytes:
        """What stands before bad lines that are put elsewhere, as the header of a CSV file; known once a chunk was given."""
        ...

    def chunks(self) -> AsyncGenerator[Chunk]:
        """Yield its records as they come, in bounded pieces.

        Raises:
            AetherError: the input is damaged; all records in front of that place were yielded.
            OSError: it cannot be read.
        """
        ...
