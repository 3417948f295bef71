"""Parquet and Arrow files, read by pyarrow or polars, whichever is installed."""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from aether.errors import AetherError
from aether.ingest.chunks import NO_RECORD, Chunk

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator, Sequence

    from aether.ingest.mapping import Columns, Mapping

__all__ = ["TableSource"]

ROWS = 2000
"""Rows of a chunk."""


class TableSource:
    """The rows of a Parquet file, or of Arrow's file format.

    Args:
        path: the file.
        form: which of both it is.
        mapping: which columns make which fields.

    Attributes:
        size, done: see `Source`; in rows.
        heading: see `Source`; there is none, and a bad row is told as JSON.

    Raises:
        AetherError: neither package is installed.
    """

    heading = b""

    def __init__(self, path: str, form: Literal["parquet", "arrow"], mapping: Mapping) -> None:
        self._path = path
        self._form = form
        self._mapping = mapping
        self._columns: Columns | None = None
        self._rows = _reader()
        self.size: int | None = None
        self.done = 0

    async def chunks(self) -> AsyncGenerator[Chunk]:
        """Yield the rows, as `Source.chunks` does."""
        batches = self._rows(self._path, self._form)
        while True:
            try:
                batch = await asyncio.to_thread(next, batches, None)
            except OSError:
                raise
            except Exception as error:
                # Both packages have errors of their own, and more of them than could be named here.
                raise AetherError(f"{self._path}: cannot be read as {self._form}: {error}") from error
            if batch is None:
                return
            names, rows = batch
            yield self._chunk(names, rows)

    def _chunk(self, names: list[str], rows: Sequence[Sequence[Any]]) -> Chunk:
        if self._columns is None:
            self._columns = self._mapping.bind(names, self._path)
        chunk = Chunk(self.done + 1, b"", {}, {})
        lines = []
        for number, row in enumerate(rows, chunk.number):
            try:
                line = self._columns.record(row)
            except ValueError as error:
                line = NO_RECORD
                chunk.problems[number] = str(error)
                chunk.originals[number] = msgspec.json.encode(dict(zip(names, row, strict=True)), enc_hook=str)
            lines.append(line)
        self.done += len(rows)
        return chunk._replace(content=b"\n".join(lines))


def _reader() -> Any:  # noqa: ANN401 - a function of path and form
    if importlib.util.find_spec("pyarrow") is not None:
        return _by_pyarrow
    if importlib.util.find_spec("polars") is not None:
        return _by_polars
    raise AetherError("Parquet and Arrow files are read by pyarrow or polars; to have one: pip install pyarrow")


def _by_pyarrow(path: str, form: str) -> Iterator[tuple[list[str], list[list[Any]]]]:
    pyarrow = importlib.import_module("pyarrow")
    if form == "parquet":
        with importlib.import_module("pyarrow.parquet").ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=ROWS):
                yield _rows(pyarrow, batch)
        return
    with pyarrow.memory_map(path) as mapped, importlib.import_module("pyarrow.ipc").open_file(mapped) as file:
        for index in range(file.num_record_batches):
            batch = file.get_batch(index)
            for start in range(0, batch.num_rows, ROWS):
                yield _rows(pyarrow, batch.slice(start, ROWS))


def _rows(pyarrow: Any, batch: Any) -> tuple[list[str], list[list[Any]]]:  # noqa: ANN401
    """Return a batch's names and rows; moments in time as text, as Python's own have no nanoseconds."""
    computing = importlib.import_module("pyarrow.compute")
    columns = []
    for column in batch.columns:
        if pyarrow.types.is_timestamp(column.type) and column.type.tz is not None:
            text = computing.strftime(column.cast(pyarrow.timestamp(column.type.unit, "UTC")), "%Y-%m-%dT%H:%M:%S")
            columns.append([None if moment is None else f"{moment}Z" for moment in text.to_pylist()])
        else:
            columns.append(column.to_pylist())
    return batch.schema.names, [list(row) for row in zip(*columns, strict=True)]


def _by_polars(path: str, form: str) -> Iterator[tuple[list[str], list[tuple[Any, ...]]]]:
    polars = importlib.import_module("polars")
    table = (polars.scan_parquet if form == "parquet" else polars.scan_ipc)(path)
    names, kinds = table.collect_schema().names(), table.collect_schema().dtypes()
    moments = [
        polars.col(name).dt.convert_time_zone("UTC").dt.strftime("%Y-%m-%dT%H:%M:%S%.fZ")
        for name, kind in zip(names, kinds, strict=True)
        if isinstance(kind, polars.Datetime) and kind.time_zone is not None
    ]
    start = 0
    while rows := table.slice(start, ROWS).with_columns(moments).collect().rows():
        yield names, rows
        start += len(rows)
