"""A network that delays, loses, doubles, cuts, resets and half-opens: promises hold, and every call ends in time."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
from faults.dump import dump
from faults.history import History, violations
from faults.proxy import Proxy, every_nth, is_ack, is_event
from faults.waiting import LIMIT_S, asking_again, hurried, in_time, until

from aether import AetherError, DeadlineError, Event, JetStreamEventStore, NewEvent, OutcomeUnknownError, ServerUnavailableError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from conftest import Size

    from aether import EmbeddedServer


@asynccontextmanager
async def through_proxy(
    server: EmbeddedServer, namespace: str, again_s: float = 2.5
) -> AsyncIterator[tuple[Proxy, JetStreamEventStore]]:
    """A store that is open, reaches its server through a proxy, and asks again after a while without an answer."""
    async with Proxy(server.url) as proxy, JetStreamEventStore(proxy.url, namespace=namespace, timeout_s=LIMIT_S) as store:
        asking_again(store, again_s)
        yield proxy, store


@asynccontextmanager
async def with_another_way(
    server: EmbeddedServer, namespace: str, timeout_s: float
) -> AsyncIterator[tuple[Proxy, JetStreamEventStore]]:
    """A store that has written one event through the proxy given here, and knows another to the same server."""
    async with Proxy(server.url) as first, Proxy(server.url) as second:
        urls = f"{first.url},{second.url}"
        async with JetStreamEventStore(urls, namespace=namespace, timeout_s=timeout_s) as store:
            await store.append("a", NewEvent("t"))
            yield first if store._connection.client.connected_url.port == urlsplit(first.url).port else second, store


async def append_many(store: JetStreamEventStore, history: History, actors: int, each: int) -> None:
    """Let one writer an actor append, one event after another, and load now and then."""

    async def one(actor_id: str) -> None:
        for index in range(each):
            new = NewEvent("t", {"index": index})
            await history.write(actor_id, new.id, 0, store.append(actor_id, new))
            if index % 5 == 0:
                await history.read(actor_id, store.get_events(actor_id))

    await asyncio.gather(*(one(f"actor-{number}") for number in range(actors)))


async def test_lost_acks_are_resolved(nats_server: EmbeddedServer, namespace: str) -> None:
    """With acks lost and nothing else, every append is acked in the end, once, and as the log has it."""
    history = History()
    async with through_proxy(nats_server, namespace, again_s=0.5) as (proxy, store):
        proxy.lose_from_server = every_nth(7, is_ack)
        await append_many(store, history, actors=4, each=8)
        lost = proxy.lost
    assert lost >= 4
    assert len(history.told("acked")) == 32
    assert violations(history, await dump(nats_server.url, namespace), contiguous=True) == []


async def test_a_lost_ack_of_a_save_is_resolved(nats_server: EmbeddedServer, namespace: str) -> None:
    """A `save_event` whose ack was lost succeeds with the position at which the event lies."""
    async with through_proxy(nats_server, namespace, again_s=0.5) as (proxy, store):
        proxy.lose_from_server = is_ack
        position = await store.save_event(Event("a", "t", 1))
        assert proxy.lost == 1
    assert [(message.position, message.versions) for message in await dump(nats_server.url, namespace)] == [(position, [1])]


async def test_a_lost_ack_under_other_writers_commits_is_resolved(nats_server: EmbeddedServer, namespace: str) -> None:
    """A lost ack is found though another process has written on top meanwhile."""
    async with (
        through_proxy(nats_server, namespace, again_s=0.5) as (proxy, store),
        JetStreamEventStore(nats_server.url, namespace=namespace) as other,
    ):
        proxy.lose_from_server = is_ack
        call = asyncio.ensure_future(store.append("a", NewEvent("t", "mine")))
        await until(lambda: proxy.lost)
        await other.append("a", [NewEvent("t", "theirs"), NewEvent("t", "theirs")])
        assert (await call).version == 1
        proxy.lose_from_server = lambda _: False
        assert (await store.append("a", NewEvent("t", "mine"))).version == 4
        assert [event.data for event in await store.get_events("a")] == ["mine", "theirs", "theirs", "mine"]


async def test_doubled_requests_have_one_effect(nats_server: EmbeddedServer, namespace: str) -> None:
    """A network that delivers every publish twice stores every event once."""
    history = History()
    async with through_proxy(nats_server, namespace) as (proxy, store):
        proxy.double = is_event
        await append_many(store, history, actors=3, each=20)
    assert len(history.told("acked")) == 60
    assert violations(history, await dump(nats_server.url, namespace), contiguous=True) == []


async def test_a_refusal_that_answers_our_own_doubled_copy_is_no_conflict(nats_server: EmbeddedServer, namespace: str) -> None:
    """A request that the network doubles and whose ack it loses is answered by a refusal: it is success all the same, once."""
    history = History()
    async with through_proxy(nats_server, namespace) as (proxy, store):
        proxy.double, proxy.lose_from_server = is_event, is_ack
        for expected in (0, 1, None):
            new = NewEvent("t", expected)
            await history.write("a", new.id, 0, store.append("a", new, expected_version=expected))
        event = Event("a", "t", 4)
        assert await store.save_event(event) == history.told("acked")[-1].position + 1
        assert proxy.lost == 4
    assert [write.version for write in history.told("acked")] == [1, 2, 3]
    assert [message.versions for message in await dump(nats_server.url, namespace)] == [[1], [2], [3], [4]]


@pytest.mark.parametrize("harm", ["cut", "reset"])
async def test_broken_connections_lose_and_double_nothing(
    nats_server: EmbeddedServer, namespace: str, harm: str, size: Size
) -> None:
    """While connections break again and again, one writer's acked history is what the log holds, and its loads are prefixes."""
    history = History()
    async with through_proxy(nats_server, namespace) as (proxy, store):
        work = asyncio.ensure_future(append_many(store, history, actors=4, each=size.pick(60, 300, 2000)))
        breaks = 0
        while not work.done():
            seen = len(history.writes)
            getattr(proxy, harm)()
            breaks += 1
            await until(lambda seen=seen: len(history.writes) >= seen + 12 or work.done())
        await work
    assert breaks >= 5
    assert len(history.told("acked")) > len(history.writes) * 0.9
    assert violations(history, await dump(nats_server.url, namespace), contiguous=True) == []


async def test_everything_at_once_loses_and_doubles_nothing(nats_server: EmbeddedServer, namespace: str, size: Size) -> None:
    """Acks lost, publishes lost and doubled, frames late: what callers were told is what the log holds."""
    history = History()
    async with through_proxy(nats_server, namespace, again_s=0.5) as (proxy, store):
        proxy.lose_from_server = every_nth(11, is_ack)
        proxy.lose_from_client = every_nth(13, is_event)
        proxy.double = every_nth(5, is_event)
        proxy.delay_s = 0.001
        await append_many(store, history, actors=6, each=size.pick(8, 60, 100))
    assert violations(history, await dump(nats_server.url, namespace), contiguous=True) == []
    assert len(history.told("acked")) > len(history.writes) * 0.9


async def test_answers_later_than_an_attempt_have_one_effect(nats_server: EmbeddedServer, namespace: str) -> None:
    """With answers so late that each is asked for again, nothing is lost or doubled, and nobody waits beyond the deadline."""
    history = History()
    async with through_proxy(nats_server, namespace) as (proxy, store):
        proxy.delay_s = 0.2
        for number in range(3):
            new = NewEvent("t", number)
            with hurried(store, 1.2):
                await in_time(history.write(f"a-{number}", new.id, 0, store.append(f"a-{number}", new)), 1.2)
    assert history.told("acked") or history.told("unknown")
    assert violations(history, await dump(nats_server.url, namespace), contiguous=True) == []


CALLS: dict[str, Callable[[JetStreamEventStore], Awaitable[object]]] = {
    "append": lambda store: store.append("a", NewEvent("t")),
    "save_event": lambda store: store.save_event(Event("a", "t", 9)),
    "save_event of a stored version": lambda store: store.save_event(Event("a", "t", 1)),
    "get_events": lambda store: store.get_events("a"),
    "get_events with a limit": lambda store: store.get_events("a", limit=1),
    "read_events": lambda store: anext(store.read_events("a")),
    "get_latest_version": lambda store: store.get_latest_version("a"),
    "get_latest_snapshot": lambda store: store.get_latest_snapshot("a"),
    "repair": lambda store: store.repair("a"),
}


@pytest.mark.parametrize("call", CALLS)
async def test_a_half_open_connection_ends_every_call_in_time(nats_server: EmbeddedServer, namespace: str, call: str) -> None:
    """With a connection that is up and mute every call ends by its deadline: unknown if it may have written, else a deadline."""
    timeout_s = 0.6
    async with through_proxy(nats_server, namespace) as (proxy, store):
        await store.append("a", NewEvent("t"))
        proxy.silent = True
        kind = OutcomeUnknownError if call in ("append", "save_event") else DeadlineError
        with hurried(store, timeout_s), pytest.raises(kind) as caught:
            await in_time(CALLS[call](store), timeout_s)
        assert f"{timeout_s:g} s" in str(caught.value)
        proxy.silent = False
        assert await store.get_latest_version("a") >= 1


async def test_many_writers_of_one_actor_end_in_time(nats_server: EmbeddedServer, namespace: str) -> None:
    """Writers that queue for one actor of a mute server all end by their own deadline, and those not begun say so."""
    timeout_s = 0.6
    async with through_proxy(nats_server, namespace) as (proxy, store):
        await store.append("a", NewEvent("t"))
        proxy.silent = True
        with hurried(store, timeout_s):
            calls = (in_time(store.append("a", NewEvent("t")), timeout_s) for _ in range(20))
            told = await asyncio.gather(*calls, return_exceptions=True)
        assert isinstance(told[0], OutcomeUnknownError)
        # Some more may have got their turns in the last moment of their own time.
        assert {type(error) for error in told} <= {OutcomeUnknownError, DeadlineError}, told
        assert sum(isinstance(error, DeadlineError) for error in told) >= 10, told
        proxy.silent = False


async def test_a_mute_server_is_left_for_another_within_a_call(nats_server: EmbeddedServer, namespace: str) -> None:
    """A connection that goes mute is given up by its silence, and the call goes on through another server in its own time."""
    async with with_another_way(nats_server, namespace, timeout_s=12) as (used, store):
        used.silent = True
        assert (await store.append("a", NewEvent("t"))).version == 2
        assert [event.version for event in await store.get_events("a")] == [1, 2]


async def test_a_mute_server_that_takes_no_more_bytes_is_left_too(nats_server: EmbeddedServer, namespace: str) -> None:
    """A mute connection whose buffers are full is given up as well, though nothing can be flushed into it, and can be closed."""
    async with with_another_way(nats_server, namespace, timeout_s=12) as (used, store):
        used.silent = True
        large = NewEvent("t", "x" * 900_000)
        calls = [asyncio.ensure_future(store.append(f"large-{number}", large)) for number in range(24)]
        await asyncio.sleep(0)
        assert (await store.append("a", NewEvent("t"))).version == 2
        told = await asyncio.gather(*calls, return_exceptions=True)
        assert not [error for error in told if isinstance(error, BaseException) and not isinstance(error, AetherError)]


async def test_a_first_call_to_a_mute_server_ends_in_time(nats_server: EmbeddedServer, namespace: str) -> None:
    """Opening against a peer that accepts and says nothing is `ServerUnavailableError` by the deadline."""
    async with Proxy(nats_server.url) as proxy:
        proxy.silent = True
        store = JetStreamEventStore(proxy.url, namespace=namespace, timeout_s=0.5)
        with pytest.raises(ServerUnavailableError, match="is it running"):
            await in_time(store.get_events("a"), 0.5)
        await store.aclose()


async def test_many_large_writes_into_a_mute_connection_end_in_time(nats_server: EmbeddedServer, namespace: str) -> None:
    """More bytes than any buffer takes do not hold a call beyond its deadline."""
    timeout_s = 1.0
    async with through_proxy(nats_server, namespace) as (proxy, store):
        proxy.silent = True
        large = [NewEvent("t", "x" * 900_000)]
        with hurried(store, timeout_s):
            calls = [in_time(store.append(f"a-{number}", large), timeout_s) for number in range(24)]
            told = await asyncio.gather(*calls, return_exceptions=True)
        assert {type(error) for error in told} <= {OutcomeUnknownError, DeadlineError}, told
        proxy.silent = False


async def test_an_unknown_outcome_is_resolved_by_saving_again(nats_server: EmbeddedServer, namespace: str) -> None:
    """After `OutcomeUnknownError` the very same event can be saved again, and is there once."""
    async with through_proxy(nats_server, namespace) as (proxy, store):
        await store.append("a", NewEvent("t"))
        event = Event("a", "t", 2)
        proxy.lose_from_server = lambda frame: frame.line.startswith((b"MSG", b"HMSG"))
        with hurried(store, 1.5), pytest.raises(OutcomeUnknownError, match="safe"):
            await store.save_event(event)
        proxy.lose_from_server = lambda _: False
        position = await store.save_event(event)
    stored = await dump(nats_server.url, namespace)
    assert [(message.position, message.versions) for message in stored[1:]] == [(position, [2])]


async def test_a_write_that_never_left_is_no_unknown(nats_server: EmbeddedServer, namespace: str) -> None:
    """With the connection lost and no server to be had, a write that was not sent says that nothing was stored."""
    async with through_proxy(nats_server, namespace) as (proxy, store):
        await store.append("a", NewEvent("t"))
        proxy.silent = True
        proxy.cut()
        await until(lambda: not store._connection.is_up())
        with hurried(store, 1.5), pytest.raises(ServerUnavailableError):
            await in_time(store.append("a", NewEvent("t")), 1.5)
        proxy.silent = False
        async with asyncio.timeout(LIMIT_S):
            while True:
                try:
                    assert (await store.append("a", NewEvent("t"))).version == 2
                    break
                except AetherError:
                    continue
    assert len(await dump(nats_server.url, namespace)) == 2
