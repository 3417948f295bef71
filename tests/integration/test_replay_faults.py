"""`read_all` on real servers whose messages are damaged or gone, whose answers are lost, and whose connections end."""

from __future__ import annotations

import asyncio
import gc
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nats
import pytest
from faults.dump import crafted, stock_client
from faults.proxy import Frame, Proxy
from faults.waiting import LIMIT_S, hurried
from test_jetstream_disk import change

from aether import CorruptEventError, DeadlineError, EmbeddedServer, Event, JetStreamEventStore, NewEvent, ServerUnavailableError
from aether._native import actor_subject, shard_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from conftest import Size

    from aether import EventBatch

PAGE_BYTES = 4096


@pytest.fixture(params=["lane", "nats-py"])
async def store(request: Any, nats_server: EmbeddedServer, namespace: str) -> AsyncIterator[JetStreamEventStore]:
    """A store on the shared server, by either way that messages travel."""
    async with opened(nats_server.url, namespace, request.param) as store:
        yield store


@asynccontextmanager
async def opened(url: str, namespace: str, transport: str, timeout_s: float = 10) -> AsyncIterator[JetStreamEventStore]:
    """A store over a lane, or over a borrowed client."""
    if transport == "lane":
        async with JetStreamEventStore(url, namespace=namespace, timeout_s=timeout_s) as store:
            yield store
        return
    client = await nats.connect(url, max_reconnect_attempts=-1, reconnect_time_wait=0.02, error_cb=_ignore)
    try:
        async with JetStreamEventStore(client, namespace=namespace, timeout_s=timeout_s) as store:
            yield store
    finally:
        await client.close()


async def _ignore(error: Exception) -> None:
    """Connections are cut here on purpose."""


async def fill(store: JetStreamEventStore, count: int, size: int = 0) -> list[tuple[str, int]]:
    """Append commits of one event, of seven actors; return what is stored, in order."""
    stored: list[tuple[int, str, int]] = []

    async def write(who: int) -> None:
        for _ in range(count // 7 + 1):
            appended = await store.append(f"a-{who}", NewEvent("t", "x" * size))
            stored.append((appended.position, f"a-{who}", appended.version))

    await asyncio.gather(*(write(who) for who in range(7)))
    return [(actor_id, version) for _, actor_id, version in sorted(stored)]


async def until_stopped(batches: AsyncIterator[EventBatch]) -> tuple[list[Event], CorruptEventError | None]:
    """The events that a read gives out, and the damage that ends it."""
    events: list[Event] = []
    try:
        async for batch in batches:
            events += batch
    except CorruptEventError as error:
        return events, error
    return events, None


def names(events: list[Event]) -> list[tuple[str, int]]:
    """The actor and version of each event."""
    return [(event.actor_id, event.version) for event in events]


DAMAGE: dict[str, Callable[[], bytes]] = {
    "foreign": lambda: b'{"hello": "world"}',
    "empty": lambda: b"",
    "altered": lambda: (body := crafted("bad", [1], []))[:-7] + bytes([body[-7] ^ 1]) + body[-6:],
    "another actor's": lambda: crafted("elsewhere", [9], []),
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("batch_size", [1, 1000])
async def test_damage_stops_a_read_at_its_position_and_the_read_goes_on_behind_it(
    store: JetStreamEventStore, nats_server: EmbeddedServer, namespace: str, *, damage: str, batch_size: int
) -> None:
    """Everything before a damaged message comes, then `CorruptEventError` with its position, behind which a read goes on."""
    before = await fill(store, 30)
    async with stock_client(nats_server.url) as client:
        position = (await client.jetstream().publish(actor_subject(namespace, "bad"), DAMAGE[damage]())).seq
    behind = await fill(store, 30)
    events, error = await until_stopped(store.read_all(batch_size=batch_size))
    assert names(events) == before
    assert error is not None
    assert (error.stream, error.position, error.actor_id) == (f"AETHER-EVENTS-{namespace}", position, "bad")
    events, error = await until_stopped(store.read_all(position, batch_size=batch_size))
    assert (names(events), error) == (behind, None)
    events, error = await until_stopped(store.read_all(actor_prefix="a-", batch_size=batch_size))
    assert (names(events), error) == (before + behind, None), "damage in what is left out is not read"
    assert await store.repair("bad") == (position,)
    events, error = await until_stopped(store.read_all(batch_size=batch_size))
    assert (names(events), error) == (before + behind, None), "a repair is a word that counts here too"


@pytest.mark.parametrize("transport", ["lane", "nats-py"])
@pytest.mark.parametrize("gone", [1, 20, 40])
async def test_a_message_that_the_disk_lost_stops_a_read(tmp_path: Path, transport: str, gone: int) -> None:
    """A position without a message is `CorruptEventError`: for the namespace, for its actor, and for its shard."""
    async with EmbeddedServer(tmp_path) as server, JetStreamEventStore(server.url) as store:
        for number in range(1, 41):
            await store.append("ab"[number % 2], NewEvent("t", f"MARK-{number:04d}"))
        for _ in range(2):
            await store.append("a", NewEvent("t", "behind"))
            await store.append("b", NewEvent("t", "behind"))
    assert change(tmp_path, f"MARK-{gone:04d}".encode()) == 1
    actor_id, other = ("ab"[gone % 2], "ba"[gone % 2])
    async with EmbeddedServer(tmp_path) as server, opened(server.url, "default", transport) as store:
        events, error = await until_stopped(store.read_all())
        assert [event.data for event in events] == [f"MARK-{number:04d}" for number in range(1, gone)]
        assert error is not None
        assert (error.position, error.actor_id) == (gone, None)
        events, error = await until_stopped(store.read_all(gone))
        assert (len(events), error) == (44 - gone, None)
        for given in ({"actor_id": actor_id}, {"shards": [shard_of(actor_id)]}):
            events, error = await until_stopped(store.read_all(**given))  # type: ignore[arg-type]  # one of several filters
            assert error is not None, given
            assert (error.position, error.actor_id) == (gone, actor_id)
            assert all(event.actor_id == actor_id for event in events)
            assert (await until_stopped(store.read_all(gone, **given)))[1] is None  # type: ignore[arg-type]  # as above
        events, error = await until_stopped(store.read_all(actor_id=other))
        assert (len(events), error) == (22, None)


@pytest.mark.parametrize("transport", ["lane", "nats-py"])
@pytest.mark.parametrize("times", [1, 5])
async def test_a_read_goes_on_where_its_connection_was_cut(
    nats_server: EmbeddedServer, namespace: str, *, transport: str, times: int
) -> None:
    """However often the connection ends, every event comes once, in order."""
    # What a borrowed client loses is asked for again after a part of the time-out.
    async with Proxy(nats_server.url) as proxy, opened(proxy.url, namespace, transport, timeout_s=5) as store:
        stored = await fill(store, 400, size=40_000)
        events: list[Event] = []
        async for batch in store.read_all(batch_size=20):
            events += batch
            if times == 1 and len(events) == len(batch):
                proxy.reset()
            elif times > 1 and len(events) % 80 == 20 and len(events) < 80 * times:
                proxy.cut()
        assert names(events) == stored


@pytest.mark.parametrize("transport", ["lane", "nats-py"])
async def test_answers_that_are_lost_are_asked_for_again(nats_server: EmbeddedServer, namespace: str, transport: str) -> None:
    """Every seventh message and every second end of an answer lost on the way change nothing."""
    async with Proxy(nats_server.url) as proxy, opened(proxy.url, namespace, transport) as store:
        stored = await fill(store, 60)
        count = 0

        def unlucky(frame: Frame) -> bool:
            nonlocal count
            if b"Nats-Sequence:" not in frame.body and b"204 EOB" not in frame.body:
                return False
            count += 1
            return count % 7 == 3

        proxy.lose_from_server = unlucky
        with hurried(store, 4.0):  # what is lost is asked for again after a part of the time-out
            events, error = await until_stopped(store.read_all())
        assert (names(events), error) == (stored, None)
        assert proxy.lost > 3


@pytest.mark.parametrize("transport", ["lane", "nats-py"])
async def test_a_read_without_progress_ends_in_time_with_all_that_came(
    nats_server: EmbeddedServer, namespace: str, transport: str
) -> None:
    """When the server goes mute, what came is given out, and the read ends with the documented error in its time."""
    async with Proxy(nats_server.url) as proxy, opened(proxy.url, namespace, transport) as store:
        stored = await fill(store, 100, size=20_000)
        events: list[Event] = []

        async def read() -> None:
            async for batch in store.read_all(batch_size=10):
                events.extend(batch)
                proxy.silent = True

        with (
            hurried(store, 1.5),
            pytest.raises((DeadlineError, ServerUnavailableError), match=r"1\.5 s|no server answers|until the deadline"),
        ):
            await asyncio.wait_for(read(), LIMIT_S)
        assert names(events) == stored[: len(events)]
        proxy.silent = False
        events, error = await until_stopped(store.read_all())
        assert (names(events), error) == (stored, None)


async def test_a_read_that_is_left_gives_its_inbox_back(nats_server: EmbeddedServer, namespace: str) -> None:
    """A read that is ended early, in whatever way, leaves nothing behind."""
    async with opened(nats_server.url, namespace, "lane") as store:
        await fill(store, 50)
        lane: Any = store._connection._carrier.transport
        async with aclosing(store.read_all(batch_size=1)) as batches:  # type: ignore[type-var]  # it is a generator
            await anext(batches)
            assert len(lane._inboxes) == 1
        assert lane._inboxes == {}
        task = asyncio.ensure_future(until_stopped(store.read_all(batch_size=1)))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert lane._inboxes == {}
        assert len((await until_stopped(store.read_all()))[0]) >= 50


@pytest.mark.parametrize("transport", ["lane", "nats-py"])
async def test_a_slow_reader_holds_a_bounded_part_of_a_large_namespace(
    nats_server: EmbeddedServer, namespace: str, size: Any, transport: str
) -> None:
    """While a read waits, and all through it, it keeps at most its 16 MiB of messages and their objects in memory."""
    count = size.pick(150, 400, 2000)
    async with opened(nats_server.url, namespace, transport) as store:
        await fill(store, count, size=300_000)
        gc.collect()
        before, most, seen = resident_bytes(), 0, 0
        async for batch in store.read_all(batch_size=5):
            seen += len(batch)
            for _ in range(20 if seen == len(batch) else 0):
                await store.get_latest_version("a-0")  # what was asked for comes meanwhile
            most = max(most, resident_bytes())
        assert seen >= count
        assert most - before <= 64 * 2**20, f"{(most - before) / 2**20:.1f} MiB"


def resident_bytes() -> int:
    """What this process has in memory."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * PAGE_BYTES


async def test_lagging_replicas_are_passed_over_for_the_leader(nats_cluster: Any, namespace: str) -> None:
    """On three servers a read right behind a write has it, whichever replica answers and however far it is."""
    url = ",".join(nats_cluster.urls)
    async with (
        JetStreamEventStore(url, namespace=namespace, replicas=3) as store,
        JetStreamEventStore(url, namespace=namespace) as peer,
    ):
        position = 0
        for number in range(60):
            written = [await store.append(f"a-{number % 3}", NewEvent("t", [number, step])) for step in range(2)]
            events, error = await until_stopped(peer.read_all(position))
            assert error is None
            assert [event.data for event in events] == [[number, 0], [number, 1]]
            position = written[-1].position


async def test_a_read_goes_on_when_servers_are_killed(nats_cluster: Any, namespace: str, size: Size) -> None:
    """On three servers the leader, and later another, may be killed in the middle: every event comes once, in order."""
    url = ",".join(nats_cluster.urls)
    async with JetStreamEventStore(url, namespace=namespace, replicas=3, timeout_s=20) as store:
        stored = await fill(store, 140, size=60_000)
        leader = await nats_cluster.leader_of(f"AETHER-EVENTS-{namespace}")
        for victim in (leader, (leader + 1) % 3)[: size.pick(1, 2, 2)]:
            events: list[Event] = []
            async for batch in store.read_all(batch_size=7):
                if not events:
                    await nats_cluster.kill(victim)
                events += batch
            assert names(events) == stored
            await nats_cluster.restart(victim)
