"""Where bad lines go, just as they stand in the input, so that they can be put right and imported."""

from __future__ import annotations

from typing import IO, TYPE_CHECKING

from aether.errors import AetherError

if TYPE_CHECKING:
    from aether.ingest.chunks import Source

__all__ = ["Quarantine"]


class Quarantine:
    """A file of bad lines.

    Args:
        file: the open file; it stays the caller's, who closes it.
        source: the input, for what stands before its lines.
    """

    def __init__(self, file: IO[bytes], source: Source) -> None:
        self._file = file
        self._source = source
        self._begun = False

    def take(self, number: int, line: bytes | None, reason: str) -> None:
        """Write a line (None: its bytes were let go), and do not return before it is handed to the system.

        Raises:
            AetherError: the line was too long to be kept.
            OSError: it cannot be written.
        """
        if line is None:
            raise AetherError(
                f"line {number:,} is {reason}, so it was not kept and cannot be put in quarantine; "
                "take it out of the input, or go on without it: --on-error skip"
            )
        heading = b"" if self._begun else self._source.heading
        self._file.write(heading + line.removesuffix(b"\n") + b"\n")
        self._file.flush()
        self._begun = True
