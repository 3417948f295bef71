"""The store contract: ids of all kinds, and values that come back as they went in, whatever happens to them outside."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pytest

from aether.errors import InvalidIdError
from aether.event import Event, NewEvent, Snapshot
from aether.testing.contract_base import StoreCase, drain, events
from aether.testing.contract_ids import HOSTILE_IDS, INVALID_IDS

if TYPE_CHECKING:
    from aether.testing.contract_base import StoreUnderTest

__all__ = ["ValuesContract"]

DATA: dict[str, Any] = {
    "none": None,
    "empty": {},
    "numbers": [0, -1, 127, 128, 2**63 - 1, -(2**63), 2**64 - 1, 0.0, -0.0, 1.5, 5e-324, 1.7976931348623157e308],
    "bools": [True, False],
    "text": ["", "a\x00b", "\u202e", "😀", "x" * 70_000],
    "bytes": [b"", bytes(range(256)), b"\xff" * 70_000],
    "keys": {"": 1, "a.b": 2, "*": 3, "\n": 4, "é": 5, "crc": 6, "events": 7},
    "nested": {"a": [{"b": [[[[{"c": None}]]]]}]},
    "many": list(range(5000)),
    "time": datetime(2026, 3, 1, 12, 30, 15, 123_456, tzinfo=UTC),
    "large": b"x" * 900_000,
}

TIMES = (
    datetime(1970, 1, 1, tzinfo=UTC),
    datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
    datetime(1700, 1, 1, tzinfo=UTC),
    datetime(2262, 1, 1, tzinfo=UTC),
    datetime(2026, 10, 25, 2, 30, tzinfo=timezone(timedelta(hours=2))),
)


class ValuesContract(StoreCase):
    """Ids and values."""

    async def test_any_id_is_an_actor(self, store: StoreUnderTest) -> None:
        """Every hostile id is stored and read back exactly, and a write to one touches no other."""
        before = {hostile: await store.get_latest_version(hostile) for hostile in HOSTILE_IDS}
        await asyncio.gather(*(store.append(hostile, NewEvent("Happened", hostile)) for hostile in HOSTILE_IDS))
        wrong = []
        for hostile in HOSTILE_IDS:
            stored = await store.get_events(hostile, before[hostile] + 1)
            if [(event.actor_id, event.data, event.version) for event in stored] != [(hostile, hostile, before[hostile] + 1)]:
                wrong.append((hostile, stored))
            if await store.get_latest_version(hostile) != before[hostile] + 1:
                wrong.append((hostile, []))
        assert wrong == []

    async def test_any_id_has_its_own_snapshot(self, store: StoreUnderTest) -> None:
        """Every hostile id has a snapshot of its own."""
        for hostile in HOSTILE_IDS:
            version = (await store.append(hostile, NewEvent("Happened"))).version
            await store.save_snapshot(Snapshot(hostile, version, hostile))
        wrong = []
        for hostile in HOSTILE_IDS:
            found = await store.get_latest_snapshot(hostile)
            if found is None or (found.actor_id, found.state) != (hostile, hostile):
                wrong.append((hostile, found))
        assert wrong == []

    async def test_a_wildcard_is_no_pattern(self, store: StoreUnderTest, actor: str) -> None:
        """Ids that are patterns, prefixes or other spellings of an actor with events have none themselves."""
        await store.append(actor, NewEvent("Happened"))
        await store.save_snapshot(Snapshot(actor, 1, "state"))
        for other in (
            f"{actor[:-1]}*",
            f"{actor[:-1]}?",
            f"{actor}.*",
            f"{actor}.>",
            f"{actor} ",
            actor[:-1],
            actor.upper(),
            f"{actor}\0",
        ):
            assert await store.get_events(other) == []
            assert await store.get_latest_version(other) == 0
            assert await store.get_latest_snapshot(other) is None

    @pytest.mark.parametrize("invalid", INVALID_IDS, ids=lambda value: f"{len(value)}-{value[:4]!a}")
    async def test_an_invalid_id_is_refused(self, store: StoreUnderTest, invalid: str) -> None:
        """An id that is empty, over 255 bytes or not UTF-8 is an InvalidIdError in every call."""
        with pytest.raises(InvalidIdError):
            await store.append(invalid, NewEvent("Happened"))
        with pytest.raises(InvalidIdError):
            await store.get_events(invalid)
        with pytest.raises(InvalidIdError):
            await store.get_events(invalid, limit=1)
        with pytest.raises(InvalidIdError):
            await drain(store.read_events(invalid))
        with pytest.raises(InvalidIdError):
            await store.get_latest_version(invalid)
        with pytest.raises(InvalidIdError):
            await store.get_latest_snapshot(invalid)

    @pytest.mark.parametrize("wrong", [None, 1, b"actor", ["actor"]])
    async def test_an_id_is_text(self, store: StoreUnderTest, wrong: Any) -> None:  # noqa: ANN401 - the wrong type
        """An id that is no str is a TypeError in every call."""
        with pytest.raises(TypeError):
            await store.append(wrong, NewEvent("Happened"))
        with pytest.raises(TypeError):
            await store.get_events(wrong)
        with pytest.raises(TypeError):
            await drain(store.read_events(wrong))
        with pytest.raises(TypeError):
            await store.get_latest_version(wrong)
        with pytest.raises(TypeError):
            await store.get_latest_snapshot(wrong)

    @pytest.mark.parametrize("name", DATA)
    async def test_data_comes_back(self, store: StoreUnderTest, actor: str, name: str) -> None:
        """Data of every kind comes back byte for byte, saved or appended."""
        saved = Event(actor, "Happened", 1, DATA[name])
        draft = NewEvent("Happened", DATA[name])
        await store.save_event(saved)
        await store.append(actor, draft)
        first, second = await store.get_events(actor)
        assert first == saved
        assert first.payload == second.payload == saved.payload
        assert repr(first.data) == repr(saved.data) == repr(second.data)

    @pytest.mark.parametrize("event_type", ["*", ">", "a.b", " ", "\r\n", "\x00", "é" * 127, "x" * 255])
    async def test_any_event_type_comes_back(self, store: StoreUnderTest, actor: str, event_type: str) -> None:
        """A type is text of 1 to 255 bytes without further meaning."""
        await store.save_event(Event(actor, event_type, 1))
        await store.append(actor, NewEvent(event_type))
        assert [event.event_type for event in await store.get_events(actor)] == [event_type] * 2

    @pytest.mark.parametrize(
        "event_id",
        ["*", "x" * 255, "\r\n", "0", "é", "0192F0C1-2B3C-7D4E-8F50-61728394A5B6", "00000000-0000-0000-0000-000000000000"],
    )
    async def test_any_event_id_comes_back(self, store: StoreUnderTest, actor: str, event_id: str) -> None:
        """An event's id stays the very string that it was, also one that nearly is a UUID."""
        await store.save_event(Event(actor, "Happened", 1, id=event_id))
        await store.append(actor, NewEvent("Happened", id=event_id))
        assert [event.id for event in await store.get_events(actor)] == [event_id] * 2

    @pytest.mark.parametrize("timestamp", TIMES, ids=str)
    async def test_times_come_back(self, store: StoreUnderTest, actor: str, timestamp: datetime) -> None:
        """A time comes back as the same moment, before 1970 too."""
        event = Event(actor, "Happened", 1, timestamp=timestamp)
        await store.save_event(event)
        [stored] = await store.get_events(actor)
        assert stored.timestamp == timestamp
        assert stored.time_ns == event.time_ns

    async def test_nanoseconds_are_kept(self, store: StoreUnderTest, actor: str) -> None:
        """The times that events get by default keep their nanoseconds, for which datetime has no room."""
        draft = NewEvent("Happened")
        [saved] = events(actor, 1)
        await store.save_event(saved)
        await store.append(actor, draft)
        assert [event.time_ns for event in await store.get_events(actor)] == [saved.time_ns, draft.time_ns]

    async def test_metadata_comes_back(self, store: StoreUnderTest, actor: str) -> None:
        """Metadata comes back, whatever its keys and values are."""
        metadata = {"correlation_id": "c", "": "", "Nats-Msg-Id": "x", "a\r\nb": "\0", "é": "x" * 10_000}
        await store.save_event(Event(actor, "Happened", 1, metadata=metadata))
        await store.append(actor, NewEvent("Happened", metadata=metadata))
        assert [event.metadata for event in await store.get_events(actor)] == [metadata] * 2
        assert [event.correlation_id for event in await store.get_events(actor)] == ["c"] * 2

    async def test_what_was_passed_in_can_change(self, store: StoreUnderTest, actor: str) -> None:
        """Nothing the caller does to data, metadata, lists or state after the call changes what is stored."""
        data, metadata, state = {"items": [1]}, {"user": "a"}, {"total": [1]}
        saved = [Event(actor, "Happened", 1, data, metadata=metadata)]
        appended = [NewEvent("Happened", data, metadata=metadata)]
        snapshot = Snapshot(actor, 1, state)
        await store.save_events(saved)
        await store.append(actor, appended)
        await store.save_snapshot(snapshot)
        data["items"].append(2)
        metadata["user"] = "b"
        state["total"].append(2)
        saved.clear()
        appended.clear()
        stored = await store.get_events(actor)
        assert [(event.data, event.metadata) for event in stored] == [({"items": [1]}, {"user": "a"})] * 2
        kept = await store.get_latest_snapshot(actor)
        assert kept is not None
        assert kept.state == {"total": [1]}

    async def test_what_was_got_back_can_change(self, store: StoreUnderTest, actor: str) -> None:
        """Nothing the caller does to events, lists, batches or snapshots that it got changes what is stored."""
        await store.save_events([Event(actor, "Happened", version, {"items": [1]}, metadata={"user": "a"}) for version in (1, 2)])
        await store.save_snapshot(Snapshot(actor, 2, {"total": [1]}))
        got = await store.get_events(actor)
        got[0].data["items"].append(2)
        got[0].metadata["user"] = "b"
        got.clear()
        async for batch in store.read_events(actor, batch_size=1):
            batch[0].data["items"].append(3)
            batch.clear()
        snapshot = await store.get_latest_snapshot(actor)
        assert snapshot is not None
        snapshot.state["total"].append(2)
        stored = await store.get_events(actor)
        assert [(event.version, event.data, event.metadata) for event in stored] == [
            (version, {"items": [1]}, {"user": "a"}) for version in (1, 2)
        ]
        again = await store.get_latest_snapshot(actor)
        assert again is not None
        assert again.state == {"total": [1]}
