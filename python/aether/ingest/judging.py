"""Lines that the native parser has left."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aether.ingest.records import BadRecordError, judge_record

if TYPE_CHECKING:
    from aether.ingest.chunks import Chunk
    from aether.ingest.records import Record

__all__ = ["judged"]


def judged(number: int, line: bytes, chunk: Chunk, commit_bytes_max: int) -> Record:
    """Return what a line of a chunk is.

    Raises:
        BadRecordError: it is no record, or its source could make none.
    """
    if number in chunk.problems:
        raise BadRecordError(number, chunk.problems[number])
    return judge_record(number, line, commit_bytes_max)
