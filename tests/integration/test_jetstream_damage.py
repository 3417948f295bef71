"""Foreign, damaged and lying messages in a real stream, put there by the stock client: loud, contained, and repairable."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgpack
import pytest
from faults.dump import crafted, dump, sealed, stock_client

from aether import CorruptEventError, Event, JetStreamEventStore, NewEvent, Snapshot, UnknownFormatError
from aether._native import actor_subject

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from aether import EmbeddedServer


@pytest.fixture
async def store(nats_server: EmbeddedServer, namespace: str) -> AsyncIterator[JetStreamEventStore]:
    """A store on the shared server."""
    async with JetStreamEventStore(nats_server.url, namespace=namespace) as store:
        yield store


@pytest.fixture
async def put(nats_server: EmbeddedServer, namespace: str) -> AsyncIterator[Callable[..., Any]]:
    """Publish bytes to an actor's subject with the stock client; returns the position."""
    async with stock_client(nats_server.url) as client:

        async def put_(actor_id: str, body: bytes) -> int:
            return (await client.jetstream().publish(actor_subject(namespace, actor_id), body)).seq

        yield put_


def versions(events: list[Event]) -> list[int]:
    """The versions of events."""
    return [event.version for event in events]


async def append(store: JetStreamEventStore, actor_id: str, count: int) -> None:
    """Append one commit after another."""
    for _ in range(count):
        await store.append(actor_id, NewEvent("t"))


LATER = "a later format"

DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "foreign": lambda _: b'{"hello": "world"}',
    "empty": lambda _: b"",
    "truncated": lambda body: body[:-9],
    "bit flipped": lambda body: body[:30] + bytes([body[30] ^ 1]) + body[31:],
    "another actor's commit": lambda _: crafted("elsewhere", [9], []),
    LATER: lambda body: sealed({**_open(body), "format": 2}),
    "an old version again": lambda _: crafted("a", [1], None),
}


def _open(body: bytes) -> dict[str, Any]:
    commit: dict[str, Any] = msgpack.unpackb(body)
    del commit["crc"]
    return commit


READS: dict[str, Callable[[JetStreamEventStore], Any]] = {
    "get_events": lambda store: store.get_events("a"),
    "read_events": lambda store: anext(store.read_events("a")),
    "get_latest_version": lambda store: store.get_latest_version("a"),
    "append": lambda store: store.append("a", NewEvent("t")),
    "append an expected version": lambda store: store.append("a", NewEvent("t"), expected_version=3),
    "save_event": lambda store: store.save_event(Event("a", "t", 50)),
    "save_events": lambda store: store.save_events([Event("a", "t", 50)]),
    "save_snapshot": lambda store: store.save_snapshot(Snapshot("a", 9, None)),
}


@pytest.mark.parametrize("damage", [name for name in DAMAGE if name != "an old version again"])
async def test_damage_at_the_end_stops_reads_and_writes_of_this_actor_only(
    store: JetStreamEventStore, nats_server: EmbeddedServer, namespace: str, put: Callable[..., Any], damage: str
) -> None:
    """A damaged last message is `CorruptEventError` with stream, position and cure, for every read and write of its actor."""
    await append(store, "a", 3)
    await append(store, "b", 2)
    position = await put("a", DAMAGE[damage]((await dump(nats_server.url, namespace))[2].body))
    async with JetStreamEventStore(nats_server.url, namespace=namespace) as fresh:
        for name, call in READS.items():
            for of in (store, fresh):
                with pytest.raises(CorruptEventError) as caught:
                    await call(of)
                error = caught.value
                assert (error.stream, error.position, error.actor_id) == (f"AETHER-EVENTS-{namespace}", position, "a"), name
                assert ("aether repair 'a'" in str(error)) is (damage != LATER)
    assert versions(await store.get_events("b")) == [1, 2]
    await append(store, "b", 1)
    assert len(await dump(nats_server.url, namespace)) == 7, "nothing was written to the damaged actor"


async def test_repair_hides_nothing_that_a_later_version_wrote(
    store: JetStreamEventStore, nats_server: EmbeddedServer, namespace: str, put: Callable[..., Any]
) -> None:
    """A message of a later format is whole, so `repair` refuses to step over it, names it, and writes nothing."""
    await append(store, "a", 2)
    await put("a", b"damaged")
    position = await put("a", DAMAGE[LATER]((await dump(nats_server.url, namespace))[1].body))
    with pytest.raises(CorruptEventError, match=r"format 2; .*, use one that reads it$") as caught:
        await store.repair("a")
    assert caught.value.position == position
    assert isinstance(caught.value.__cause__, UnknownFormatError)
    assert len(await dump(nats_server.url, namespace)) == 4


@pytest.mark.parametrize("damage", [name for name in DAMAGE if name != LATER])
@pytest.mark.parametrize("before", [0, 3])
async def test_repair_makes_everything_work_again(
    store: JetStreamEventStore, nats_server: EmbeddedServer, namespace: str, put: Callable[..., Any], *, damage: str, before: int
) -> None:
    """After `repair` the actor is read and written, by this store and by others, without a scan; a second one writes nothing."""
    await append(store, "a", before)
    await append(store, "b", 3)
    sample = (await dump(nats_server.url, namespace))[-1].body
    if damage == "an old version again" and not before:
        before = 1
        await append(store, "a", 1)
    damaged = [await put("a", DAMAGE[damage](sample)), await put("a", b"and more")]
    assert await store.repair("a") == tuple(damaged)
    count = len(await dump(nats_server.url, namespace))
    assert await store.repair("a") == ()
    assert len(await dump(nats_server.url, namespace)) == count, "a second repair writes nothing"
    async with JetStreamEventStore(nats_server.url, namespace=namespace) as fresh:
        for of in (store, fresh):
            assert versions(await of.get_events("a")) == list(range(1, before + 1))
            assert await of.get_latest_version("a") == before
        await append(store, "a", 2)
        await append(fresh, "a", 20)
        scans = store._events.scans
        for of in (store, fresh):
            assert versions(await of.get_events("a")) == list(range(1, before + 23))
            assert [v async for batch in of.read_events("a", 2, batch_size=3) for v in versions(batch)] == list(
                range(2, before + 23)
            )
            assert versions(await of.get_events("a", before + 20)) == [before + 20, before + 21, before + 22]
        assert (store._events.scans, fresh._events.scans) == (scans, 0), "loads are flat again"
        assert await fresh.repair("a") == ()


async def test_damage_in_the_middle_and_first_is_named_and_repaired(
    store: JetStreamEventStore, nats_server: EmbeddedServer, namespace: str, put: Callable[..., Any]
) -> None:
    """Damage with sound commits of foreign writers behind it is named by position, repaired, and stepped over by later scans."""
    first = await put("a", b"first")
    await put("a", crafted("a", [1], None))
    middle = await put("a", b"middle")
    await put("a", crafted("a", [2, 3], None))
    with pytest.raises(CorruptEventError) as caught:
        await store.get_events("a")
    assert caught.value.position == first
    assert await store.repair("a") == (first, middle)
    assert versions(await store.get_events("a")) == [1, 2, 3]
    await append(store, "a", 2)
    assert versions(await store.get_events("a")) == [1, 2, 3, 4, 5]
    assert [v async for batch in store.read_events("a", batch_size=2) for v in versions(batch)] == [1, 2, 3, 4, 5]
    late = await put("a", b"late")
    with pytest.raises(CorruptEventError) as caught:
        await store.get_events("a")
    assert caught.value.position == late
    assert await store.repair("a") == (late,)
    assert versions(await store.get_events("a", 4)) == [4, 5]


LIES: dict[str, Callable[[list[int], int], object]] = {
    "no spine": lambda own, other: None,
    "another actor's message": lambda own, other: [[other, 1], [own[0], 1]],
    "a later message": lambda own, other: [[own[-1] + 1000, 1]],
    "sizes too small": lambda own, other: [[own[-1], 1]],
    "sizes too large": lambda own, other: [[own[-1], 3], [own[-2], 3]],
    "sizes of no tree": lambda own, other: [[own[-1], 2]],
}


@pytest.mark.parametrize("lie", LIES)
async def test_a_lying_spine_of_a_foreign_writer_costs_a_scan_and_no_event(
    store: JetStreamEventStore, put: Callable[..., Any], lie: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A sound commit with a false spine is read by scanning, said so in the log, and written upon."""
    own = [(await store.append("a", NewEvent("t"))).position for _ in range(2)]
    other = (await store.append("b", NewEvent("t"))).position
    own += [(await store.append("a", NewEvent("t"))).position for _ in range(3)]
    await put("a", crafted("a", [6, 7], LIES[lie](own, other)))
    assert versions(await store.get_events("a")) == list(range(1, 8))
    assert [v async for batch in store.read_events("a", 3, batch_size=2) for v in versions(batch)] == [3, 4, 5, 6, 7]
    assert store._events.scans >= 2
    assert "cannot be followed" in caplog.text
    assert (await store.append("a", NewEvent("t"))).version == 8
    assert versions(await store.get_events("a")) == list(range(1, 9))
    assert await store.repair("a") == (), "nothing is damaged"


async def test_repair_races_with_writers_and_with_itself(
    store: JetStreamEventStore, nats_server: EmbeddedServer, namespace: str, put: Callable[..., Any]
) -> None:
    """Several repairs and writers at once: writers fail as corrupt or are acked, and in the end each damage is passed once."""
    await append(store, "a", 2)
    others = [JetStreamEventStore(nats_server.url, namespace=namespace) for _ in range(3)]
    acked = []

    async def write(of: JetStreamEventStore) -> None:
        for _ in range(12):
            try:
                acked.append((await of.append("a", NewEvent("t"))).version)
            except CorruptEventError:
                await asyncio.sleep(0)

    async def damage() -> None:
        for _ in range(3):
            await put("a", b"damaged")
            await asyncio.gather(*(of.repair("a") for of in others))

    await asyncio.gather(damage(), *(write(of) for of in others))
    await store.repair("a")
    stored = await dump(nats_server.url, namespace)
    passed = [p for message in stored if message.body != b"damaged" for p in message.commit.get("passed", [])]
    assert sorted(passed) == [message.position for message in stored if message.body == b"damaged"]
    assert versions(await store.get_events("a")) == list(range(1, len(acked) + 3))
    assert sorted(acked) == list(range(3, len(acked) + 3))
    for of in others:
        await of.aclose()


async def test_repair_of_what_is_sound_or_absent_writes_nothing(
    store: JetStreamEventStore, nats_server: EmbeddedServer, namespace: str
) -> None:
    """Repairing a sound actor, or one that never was, returns nothing and leaves the stream as it is."""
    await append(store, "a", 3)
    assert await store.repair("a") == ()
    assert await store.repair("never") == ()
    assert len(await dump(nats_server.url, namespace)) == 3


async def test_a_load_asks_for_each_commit_once(nats_server: EmbeddedServer, namespace: str) -> None:
    """Among other actors' commits, n commits are one question for the head and n - 1 by position, and no other."""
    from faults.proxy import Frame, Proxy

    asked: list[str] = []

    def note(frame: Frame) -> bool:
        asked.extend([frame.subject] if frame.subject.startswith("$JS.API.") else [])
        return False

    async with Proxy(nats_server.url) as proxy, JetStreamEventStore(proxy.url, namespace=namespace) as store:
        for _ in range(100):
            await asyncio.gather(store.append("a", NewEvent("t")), store.append("b", NewEvent("t")))
        proxy.lose_from_client = note
        assert versions(await store.get_events("a")) == list(range(1, 101))
        stream = f"AETHER-EVENTS-{namespace}"
        assert asked == [f"$JS.API.STREAM.MSG.GET.{stream}"] + [f"$JS.API.DIRECT.GET.{stream}"] * 99
        asked.clear()
        assert versions(await store.get_events("a", 91)) == list(range(91, 101))
        assert len(asked) < 30
        asked.clear()
        assert versions(await store.get_events("a", limit=1)) == [1]
        assert len(asked) < 15
        assert store._events.scans == 0


@pytest.mark.parametrize("batch_size", [1, 3, 64, 1000])
async def test_batches_and_limits_cut_the_same_list(store: JetStreamEventStore, batch_size: int) -> None:
    """Every from_version, limit and batch size yields the corresponding part of the whole, and no empty batch."""
    for count in (1, 4, 2, 1, 1, 7, 1, 1, 3, 1):
        await store.append("a", [NewEvent("t", index) for index in range(count)])
    whole = await store.get_events("a")
    assert versions(whole) == list(range(1, 23))
    for start in (0, 1, 2, 5, 6, 16, 22, 23):
        expected = [event for event in whole if event.version >= start]
        assert await store.get_events("a", start) == expected
        for limit in (1, 2, 5, 100):
            assert await store.get_events("a", start, limit=limit) == expected[:limit]
        batches = [batch async for batch in store.read_events("a", start, batch_size=batch_size)]
        assert [event for batch in batches for event in batch] == expected
        assert all(0 < len(batch) <= batch_size for batch in batches)
        assert all(len(batch) == batch_size for batch in batches[:-1])


async def test_a_read_shows_what_was_there_when_it_began(store: JetStreamEventStore) -> None:
    """Events appended while a read goes on are none of its business."""
    await append(store, "a", 5)
    seen = []
    async for batch in store.read_events("a", batch_size=2):
        seen += versions(batch)
        await append(store, "a", 1)
    assert seen == [1, 2, 3, 4, 5]
