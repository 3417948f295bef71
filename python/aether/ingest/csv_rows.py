"""CSV as RFC 4180 has it: rows may go over several lines, and every row is told by the line where it begins."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING, NamedTuple

from aether.errors import AetherError
from aether.ingest.chunks import NO_RECORD, RECORD_BYTES_MAX, Chunk
from aether.ingest.lines import BYTE_ORDER_MARK

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from aether.ingest.mapping import Columns, Mapping
    from aether.ingest.reading import Reading

__all__ = ["CsvSource"]


class CsvSource:
    """The rows of a CSV file with a header.

    Args:
        reading: the input's bytes, in UTF-8.
        mapping: which columns make which fields.
        name: what to call the input in messages.
        delimiter: what stands between cells, one ASCII character.

    Attributes:
        heading: the header, as it stands in the input.
    """

    def __init__(self, reading: Reading, mapping: Mapping, name: str, delimiter: str = ",") -> None:
        self.heading = b""
        self._reading = reading
        self._mapping = mapping
        self._name = name
        self._delimiter = delimiter
        self._columns: Columns | None = None
        self._rows = _Rows(delimiter.encode())
        # The module's own bound, which it has for all its readers together, is lower than a record's.
        csv.field_size_limit(max(csv.field_size_limit(), RECORD_BYTES_MAX))

    @property
    def size(self) -> int | None:
        """The file's bytes; None for a pipe."""
        return self._reading.size

    @property
    def done(self) -> int:
        """How many of them were read."""
        return self._reading.done

    async def chunks(self) -> AsyncGenerator[Chunk]:
        """Yield the rows that are there, as `Source.chunks` does."""
        async for piece in self._reading.pieces():
            rows = self._rows.feed(piece)
            if rows:
                yield self._chunk(rows)
            self._check_length()
        if rows := self._rows.end():
            yield self._chunk(rows)

    def _check_length(self) -> None:
        """Refuse to go on behind a row that is too long: where it ends cannot be told, and its text is no rows."""
        if self._rows.is_too_long:
            raise AetherError(
                f"{self._name}: the row at line {self._rows.number:,} is longer than {RECORD_BYTES_MAX:,} bytes; "
                "is a quote not closed?"
            )

    def _chunk(self, rows: list[_Row]) -> Chunk:
        chunk = Chunk(rows[0].number, b"", {}, {})
        lines = []
        for row in rows:
            # The lines that a row goes over count, so that numbers are those of the input.
            lines += [self._line(row, chunk), *[b""] * (row.lines - 1)]
        return chunk._replace(content=b"\n".join(lines) + b"\n")

    def _line(self, row: _Row, chunk: Chunk) -> bytes:
        if not row.content.strip():
            return b""
        try:
            cells = self._cells(row)
            if self._columns is None:
                self.heading = row.content + b"\n"
                self._columns = self._mapping.bind(cells, self._name)
                return b""
            line = self._columns.record(cells)
        except ValueError as error:
            if self._columns is None:
                raise AetherError(f"{self._name}: line {row.number} is no header: {error}") from error
            chunk.problems[row.number] = str(error)
            line = NO_RECORD
        chunk.originals[row.number] = row.content
        return line

    def _cells(self, row: _Row) -> list[str]:
        try:
            return next(csv.reader([row.content.decode()], delimiter=self._delimiter, strict=True))
        except csv.Error as error:
            raise ValueError(str(error)) from error


class _Row(NamedTuple):
    """A row: where it begins, how many lines it goes over, and its bytes."""

    number: int
    lines: int
    content: bytes


class _Rows:
    """Cuts pieces of bytes into rows.

    Attributes:
        number: the line at which the next row begins.
    """

    def __init__(self, delimiter: bytes) -> None:
        self.number = 1
        self._delimiter = delimiter
        self._lines: list[bytes] = []
        self._line: list[bytes] = []
        self._bytes = 0
        self._quoted = False

    @property
    def is_too_long(self) -> bool:
        """Whether the row that is not ended yet is longer than a record may be."""
        return self._bytes > RECORD_BYTES_MAX

    def feed(self, piece: bytes) -> list[_Row]:
        """Return the rows that this piece ends, up to one that is too long."""
        *ended, rest = piece.split(b"\n")
        rows: list[_Row] = []
        for part in ended:
            self._add(part)
            self._end_line()
            if not self._quoted:
                rows += self.end()
            elif self.is_too_long:
                return rows
        self._add(rest)
        return rows

    def end(self) -> list[_Row]:
        """Return the row that ends here, if one does."""
        if self._line:
            self._end_line()
        if not self._lines:
            return []
        row = _Row(self.number, len(self._lines), b"\n".join(self._lines))
        self.number += row.lines
        self._lines, self._bytes, self._quoted = [], 0, False
        return [row]

    def _add(self, part: bytes) -> None:
        self._bytes += len(part)
        if part:
            self._line.append(part)

    def _end_line(self) -> None:
        line, self._line = b"".join(self._line), []
        if self.number == 1 and not self._lines:
            line = line.removeprefix(BYTE_ORDER_MARK)
        self._quoted = self._is_quoted(line)
        self._lines.append(line)
        self._bytes += 1

    def _is_quoted(self, line: bytes) -> bool:
        """Say whether a quoted cell goes on behind this line."""
        quoted, place = self._quoted, -1
        begins = not self._lines
        while (place := line.find(b'"', place + 1)) >= 0:
            if not quoted:
                # A quote within a cell that does not begin with one is no mark; the parser complains about it.
                quoted = (place == 0 and begins) or line[place - 1 : place] == self._delimiter
            elif line[place + 1 : place + 2] == b'"':
                place += 1
            else:
                quoted = False
        return quoted
