"""Exported events as a Parquet file, written by pyarrow or polars, whichever is installed."""

from __future__ import annotations

import importlib
import importlib.util
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from aether.errors import AetherError
from aether.ingest.records import json_data
from aether.ingest.sinks import in_thread

if TYPE_CHECKING:
    from aether.event import Event
    from aether.ingest.part_file import PartFile
    from aether.store.base import PlacedBatch

__all__ = ["ParquetSink"]

GROUP_EVENTS = 65_536
GROUP_BYTES = 64 * 2**20
"""A row group is ended when it has so many events, or so much text and data."""
COLUMNS = ("position", "id", "actor_id", "event_type", "version", "timestamp", "data", "data_json", "metadata")
OPTIONAL = ("data_json", "metadata")


class _Writer(Protocol):
    def group(self, columns: dict[str, list[Any]]) -> None: ...

    def end(self) -> None: ...

    def drop(self) -> None: ...


class ParquetSink:
    """Events as rows: `data` is msgpack as it is stored, `data_json` the same as text where JSON can say it.

    Args:
        part: the file.

    Raises:
        AetherError: neither package is installed.
    """

    def __init__(self, part: PartFile) -> None:
        self._part = part
        self._writer: _Writer = _writer(part)
        self._columns: dict[str, list[Any]] = {name: [] for name in COLUMNS}
        self._bytes = 0

    async def write(self, batch: PlacedBatch) -> None:
        """Take events; see `Sink.write`."""
        await in_thread(lambda: self._take(batch))

    async def finish(self) -> None:
        """Write what is left; see `Sink.finish`."""
        await in_thread(self._finish)

    def close(self) -> None:
        """Let go of what the writer has, finished or not."""
        self._writer.drop()

    def _take(self, batch: PlacedBatch) -> None:
        for position, event in zip(batch.positions, batch, strict=True):
            row = _row(position, event)
            for column, value in zip(self._columns.values(), row, strict=True):
                column.append(value)
            self._bytes += sum(len(value) for value in row if isinstance(value, str | bytes))
            if len(self._columns["id"]) >= GROUP_EVENTS or self._bytes >= GROUP_BYTES:
                self._group()

    def _group(self) -> None:
        columns, self._columns, self._bytes = self._columns, {name: [] for name in COLUMNS}, 0
        self._writer.group(columns)

    def _finish(self) -> None:
        self._group()
        self._writer.end()
        self._part.sync()


def _row(position: int, event: Event) -> tuple[Any, ...]:
    payload, metadata = event.payload, event.metadata
    data = json_data(event)
    return (
        position,
        event.id,
        event.actor_id,
        event.event_type,
        event.version,
        event.time_ns,
        payload,
        None if data is None else data.decode(),
        msgspec.json.encode(metadata).decode() if metadata else None,
    )


def _writer(part: PartFile) -> _Writer:
    if importlib.util.find_spec("pyarrow") is not None:
        return _ByPyarrow(part)
    if importlib.util.find_spec("polars") is not None:
        return _ByPolars(part)
    raise AetherError("Parquet files are written by pyarrow or polars; to have one: pip install pyarrow")


class _ByPyarrow:
    def __init__(self, part: PartFile) -> None:
        pyarrow = self._pyarrow = importlib.import_module("pyarrow")
        unsigned, moment = pyarrow.uint64(), pyarrow.timestamp("ns", tz="UTC")
        kinds = {"position": unsigned, "version": unsigned, "timestamp": moment, "data": pyarrow.binary()}
        self._schema = pyarrow.schema(
            [pyarrow.field(name, kinds.get(name, pyarrow.string()), nullable=name in OPTIONAL) for name in COLUMNS]
        )
        writing = importlib.import_module("pyarrow.parquet")
        self._writer = writing.ParquetWriter(part.file, self._schema, compression="zstd")

    def group(self, columns: dict[str, list[Any]]) -> None:
        self._writer.write_table(self._pyarrow.table(columns, self._schema))

    def end(self) -> None:
        self._writer.close()

    def drop(self) -> None:
        self._writer.close()


class _ByPolars:
    """Polars writes whole tables only, so each group is a file of its own, and in the end they become one."""

    def __init__(self, part: PartFile) -> None:
        self._part = part
        self._groups = 0
        self._folder = tempfile.TemporaryDirectory(prefix=f"{part.path.name}.", dir=part.path.parent)

    def group(self, columns: dict[str, list[Any]]) -> None:
        polars = importlib.import_module("polars")
        moment = polars.Datetime("ns", "UTC")
        kinds = {"position": polars.UInt64, "version": polars.UInt64, "timestamp": polars.Int64, "data": polars.Binary}
        table = polars.DataFrame(columns, {name: kinds.get(name, polars.String) for name in columns})
        table = table.with_columns(polars.col("timestamp").cast(moment))
        table.write_parquet(Path(self._folder.name) / f"{self._groups:08}.parquet")
        self._groups += 1

    def end(self) -> None:
        polars = importlib.import_module("polars")
        groups = [Path(self._folder.name) / f"{group:08}.parquet" for group in range(self._groups)]
        polars.scan_parquet(groups).sink_parquet(self._part.file, maintain_order=True)

    def drop(self) -> None:
        self._folder.cleanup()
