"""Planted bugs of `arrow`: what a store's columns get wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa
from planted import arrow_caught_by

from aether import InMemoryEventStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aether import ArrowStream

EVERY_EVENT = "test_columns_have_every_event"
WHOLE = "test_batches_are_whole_commits"


class Batch:
    """An `ArrowBatch` of pyarrow's making."""

    def __init__(self, rows: pa.RecordBatch, position: int) -> None:
        self.rows, self.position, self.num_rows = rows, position, rows.num_rows

    def __len__(self) -> int:
        return self.num_rows

    def __arrow_c_array__(self, requested_schema: object = None) -> Any:
        return self.rows.__arrow_c_array__(requested_schema)


class Columns:
    """An `ArrowStream` that changes what it is given."""

    def __init__(self, store: Changing, stream: ArrowStream) -> None:
        self.store, self.stream = store, stream

    async def __aiter__(self) -> AsyncIterator[Batch]:
        async for batch in self.stream:
            for changed in self.store.change(Batch(pa.record_batch(batch), batch.position)):
                yield changed

    async def collect(self) -> pa.Table:
        """Return all that is left."""
        return pa.Table.from_batches([batch.rows async for batch in self], pa.schema(self.stream))


class Changing(InMemoryEventStore):
    """A store whose columns are changed on their way out."""

    def arrow(self, after: int = 0, **given: Any) -> Any:
        """Wrap what is right."""
        return Columns(self, super().arrow(after, **given))

    def change(self, batch: Batch) -> list[Batch]:
        """Return what is given out instead."""
        return [batch]


def replaced(rows: pa.RecordBatch, name: str, values: list[Any]) -> pa.RecordBatch:
    """Return the rows with other values in one column."""
    field = rows.schema.field(name)
    return rows.set_column(rows.schema.get_field_index(name), field, pa.array(values, field.type))


@arrow_caught_by(EVERY_EVENT, WHOLE)
class OffByOne(Changing):
    """Counts positions from another beginning."""

    def change(self, batch: Batch) -> list[Batch]:
        """Add one."""
        positions = [position + 1 for position in batch.rows["position"].to_pylist()]
        return [Batch(replaced(batch.rows, "position", positions), batch.position)]


@arrow_caught_by(WHOLE)
class NamesTheWrongEnd(Changing):
    """Says that a batch ends with the commit after it, so that going on behind it misses one."""

    def change(self, batch: Batch) -> list[Batch]:
        """Name one too many."""
        return [Batch(batch.rows, batch.position + 1)]


@arrow_caught_by(WHOLE)
class SplitsCommits(Changing):
    """Cuts a batch anywhere."""

    def change(self, batch: Batch) -> list[Batch]:
        """Cut behind the first row."""
        return [Batch(rows, batch.position) for rows in (batch.rows.slice(0, 1), batch.rows.slice(1)) if rows.num_rows]


@arrow_caught_by(EVERY_EVENT)
class RoundsTimes(Changing):
    """Takes milliseconds to be enough."""

    def change(self, batch: Batch) -> list[Batch]:
        """Cut off what is below."""
        times = [ns // 10**6 * 10**6 for ns in batch.rows["timestamp"].cast("int64").to_pylist()]
        return [Batch(replaced(batch.rows, "timestamp", times), batch.position)]


@arrow_caught_by("test_json_is_equal_to_the_data_or_absent")
class AlwaysJson(Changing):
    """Writes something for data that JSON cannot say."""

    def change(self, batch: Batch) -> list[Batch]:
        """Fill the gaps."""
        texts = [text or "{}" for text in batch.rows["data_json"].to_pylist()]
        return [Batch(replaced(batch.rows, "data_json", texts), batch.position)]


@arrow_caught_by("test_it_reads_what_read_all_reads")
class IgnoresFilters(Changing):
    """Gives out all actors and types, whatever is asked for."""

    def arrow(self, after: int = 0, *, batch_size: int = 1000, **given: Any) -> Any:
        """Forget what else was given."""
        return super().arrow(after, batch_size=batch_size)
