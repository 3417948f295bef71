"""The contract of `store.arrow`, for stores that have it: it takes pyarrow to read what comes."""

from __future__ import annotations

import datetime as dt
import json
from typing import TYPE_CHECKING, Any, Protocol

import pytest

from aether import codec
from aether.errors import InvalidIdError
from aether.event import Event, NewEvent
from aether.testing.contract_base import StoreCase, drafts
from aether.testing.contract_replay import events_of, gather, told

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from aether._native import ArrowBatch
    from aether.store.base import ArrowStream
    from aether.testing.contract_base import StoreUnderTest

    class ArrowStore(StoreUnderTest, Protocol):
        """A store that has `arrow`."""

        def arrow(
            self,
            after: int = 0,
            *,
            batch_size: int = 65_536,
            actor_id: str | None = None,
            actor_prefix: str | None = None,
            shards: Iterable[int] | None = None,
            event_types: Iterable[str] | None = None,
        ) -> ArrowStream:
            """Return what `read_all` reads, as columns."""
            ...


__all__ = ["ArrowContract"]

COLUMNS = {
    "position": "uint64",
    "actor_id": "large_string",
    "event_type": "large_string",
    "version": "uint64",
    "id": "large_string",
    "timestamp": "timestamp[ns, tz=UTC]",
    "data": "large_binary",
    "data_json": "large_string",
    "metadata_json": "large_string",
}

VALUES: list[Any] = [
    None,
    True,
    0,
    -(2**63),
    2**64 - 1,
    0.5,
    -0.0,
    1e300,
    5e-324,
    "",
    'a "quoted" \\ \n \x00 \x7f € 𝄞',
    [],
    {},
    {"a": [1, {"b": None}], "ü": 1.25},
]
"""Data that JSON can say."""

OTHERS: list[Any] = [b"", b"bytes", [b"\xff"], {"at": dt.datetime(2013, 1, 1, tzinfo=dt.UTC)}]
"""Data that JSON would make something else of."""


class ArrowContract(StoreCase):
    """What `arrow` gives: the events of `read_all`, column by column.

    Subclass it beside `StoreContract`, with the same fixtures.
    """

    async def test_columns_have_every_event(self, store: ArrowStore, actor: str) -> None:
        """Each event is a row, in position order, with its position and all that it has."""
        pyarrow = pytest.importorskip("pyarrow")
        story = await told(store, actor)
        odd = Event(f"{actor}-odd", "T", 2**64 - 1, {"n": 1}, id="no uuid", timestamp=EARLY, metadata={"b": "2", "a": '"'})
        story.commits[await store.save_event(odd)] = [odd]
        table = pyarrow.table(await store.arrow(story.start).collect())
        assert {field.name: str(field.type) for field in table.schema} == COLUMNS
        rows = [(position, event) for position, commit in story.commits.items() for event in commit]
        assert table["position"].to_pylist() == [position for position, _ in rows]
        for column in ("actor_id", "event_type", "version", "id"):
            assert table[column].to_pylist() == [getattr(event, column) for _, event in rows]
        assert table["timestamp"].cast("int64").to_pylist() == [event.time_ns for _, event in rows]
        assert table["data"].to_pylist() == [event.payload for _, event in rows]
        metadata = [None if text is None else json.loads(text) for text in table["metadata_json"].to_pylist()]
        assert metadata == [event.metadata or None for _, event in rows]

    async def test_json_is_equal_to_the_data_or_absent(self, store: ArrowStore, actor: str) -> None:
        """`data_json` is JSON from which the very same data is read; where there is none, it is null."""
        pyarrow = pytest.importorskip("pyarrow")
        start = (await store.append(f"{actor}-before", drafts(1))).position
        await store.append(actor, [NewEvent("T", value) for value in VALUES + OTHERS])
        texts = pyarrow.table(await store.arrow(start).collect())["data_json"].to_pylist()
        assert [codec.encode(json.loads(text)) for text in texts[: len(VALUES)]] == [codec.encode(value) for value in VALUES]
        assert texts[len(VALUES) :] == [None] * len(OTHERS)

    @pytest.mark.parametrize("batch_size", [1, 2, 3, 7, 1000])
    async def test_batches_are_whole_commits(self, store: ArrowStore, actor: str, batch_size: int) -> None:
        """A batch has at most `batch_size` events or one commit, is never empty, and says where to go on behind it."""
        pyarrow = pytest.importorskip("pyarrow")
        story = await told(store, actor)
        reached = story.start
        async for batch in store.arrow(story.start, batch_size=batch_size):
            positions = pyarrow.record_batch(batch)["position"].to_pylist()
            commits = [commit for position, commit in story.commits.items() if reached < position <= batch.position]
            assert len(positions) == batch.num_rows == len(batch) == sum(map(len, commits)) > 0
            assert len(batch) <= batch_size or len(commits) == 1
            assert set(positions) == {position for position in story.commits if reached < position <= batch.position}
            reached = batch.position
        assert reached == max(story.commits)

    async def test_it_reads_what_read_all_reads(self, store: ArrowStore, peer: ArrowStore, actor: str) -> None:
        """Every filter, and every position to begin behind, takes the same events."""
        story = await told(store, actor)
        wanted: list[dict[str, Any]] = [
            {},
            {"actor_id": f"{actor}-1"},
            {"actor_prefix": f"{actor}-"},
            {"shards": range(500)},
            {"event_types": ["Paid"]},
            {"actor_prefix": actor, "event_types": ["Paid", "Place"]},
            {"actor_id": f"{actor}-none"},
        ]
        for after in [story.start, *list(story.commits)[:3], max(story.commits)]:
            for given in wanted:
                expected = [event.id for event in await events_of(store.read_all(after, **given))]
                assert await _ids(peer.arrow(after, batch_size=3, **given)) == expected
                assert len(await peer.arrow(after, **given).collect()) == len(expected)

    async def test_a_stream_of_nothing_has_its_columns(self, store: ArrowStore, actor: str) -> None:
        """Where no event is wanted there is no batch, and a table without rows has all columns."""
        pyarrow = pytest.importorskip("pyarrow")
        stream = store.arrow(actor_id=f"{actor}-none")
        assert [batch async for batch in stream] == []
        table = pyarrow.table(await stream.collect())
        assert table.num_rows == 0
        assert table.schema.names == list(COLUMNS)

    async def test_each_iteration_is_a_read_of_its_own(self, store: ArrowStore, peer: ArrowStore, actor: str) -> None:
        """A stream has what was there when iteration began, and an iteration that begins later has what came since."""
        story = await told(store, actor)
        stream = store.arrow(story.start, batch_size=4)
        seen = 0
        async for batch in stream:
            seen += len(batch)
            await peer.append(f"{actor}-later", NewEvent("Happened"))
        assert seen == len(story.events())
        batches = [batch async for batch in stream]
        assert sum(map(len, batches)) == len(await events_of(store.read_all(story.start))) > seen

    async def test_a_stream_can_be_left(self, store: ArrowStore, actor: str) -> None:
        """An iteration that is left in the middle hinders no other, nor a write."""
        story = await told(store, actor)
        for _ in range(3):
            async for batch in store.arrow(story.start, batch_size=2):
                assert len(batch) == 1
                break
        await store.append(f"{actor}-9", drafts(1))
        assert len(await store.arrow(story.start).collect()) == len(story.events()) + 1

    async def test_a_batch_never_passes_its_bytes_by_more_than_a_commit(self, store: ArrowStore, actor: str) -> None:
        """A batch ends with the commit that brings it to 32 MiB, whatever `batch_size` allows."""
        start = (await store.append(f"{actor}-before", drafts(1))).position
        large = min(self.commit_bytes_max, 1_000_000) - 2_000
        count = 40 * 2**20 // (2 * large) + 1
        for number in range(count):
            await store.append(f"{actor}-{number}", NewEvent("Happened", "x" * large))
        batches = [batch async for batch in store.arrow(start)]
        assert len(batches) > 1
        assert sum(map(len, batches)) == count
        # As msgpack and as JSON, and half as much again for buffers that double.
        assert all(len(batch) * 2 * large <= 32 * 2**20 + 2 * large for batch in batches)

    @pytest.mark.parametrize(
        ("given", "error"),
        [
            ({"after": -1}, ValueError),
            ({"after": "1"}, TypeError),
            ({"batch_size": 0}, ValueError),
            ({"batch_size": 1.5}, TypeError),
            ({"actor_id": ""}, InvalidIdError),
            ({"shards": [1021]}, ValueError),
            ({"event_types": "Paid"}, TypeError),
        ],
        ids=str,
    )
    async def test_what_cannot_be_a_stream_is_refused(
        self, store: ArrowStore, given: dict[str, Any], error: type[Exception]
    ) -> None:
        """Positions, sizes and filters that mean nothing are refused at once, as `read_all` refuses them."""
        with pytest.raises(error):
            await gather(store.read_all(**given))
        with pytest.raises(error):
            store.arrow(**given)


EARLY = dt.datetime(1901, 2, 3, 4, 5, 6, 789, tzinfo=dt.UTC)


async def _ids(batches: AsyncIterator[ArrowBatch] | ArrowStream) -> list[str]:
    pyarrow = pytest.importorskip("pyarrow")
    return [name async for batch in batches for name in pyarrow.record_batch(batch)["id"].to_pylist()]
