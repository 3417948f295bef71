"""Opening, closing, borrowing, cancelling, other loops, forks: nothing hangs, nothing leaks, misuse says what to do."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import threading
from typing import TYPE_CHECKING

import nats
import pytest
from faults.dump import dump, stock_client
from faults.history import History, violations
from faults.proxy import Proxy, is_ack
from faults.waiting import asking_again, until

from aether import (
    AetherError,
    Event,
    JetStreamEventStore,
    NewEvent,
    OutcomeUnknownError,
    ServerUnavailableError,
)

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator
    from pathlib import Path

    from aether import EmbeddedServer


@pytest.fixture(autouse=True)
def nothing_is_left(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """No test here may leave a task to be destroyed or an exception that nobody took; asyncio would log it."""
    with caplog.at_level(logging.WARNING, logger="asyncio"):
        yield
        gc.collect()
        assert [record.getMessage() for record in caplog.records if record.name == "asyncio"] == []


def tasks() -> set[asyncio.Task[object]]:
    """The tasks of this loop but the test itself."""
    current = asyncio.current_task()
    return {task for task in asyncio.all_tasks() if task is not current}


async def test_closing_leaves_no_task_and_no_thread(nats_server: EmbeddedServer, namespace: str) -> None:
    """After `aclose` the loop and the process hold what they held before; closing again does nothing."""
    before, threads = tasks(), threading.active_count()
    store = JetStreamEventStore(nats_server.url, namespace=namespace)
    await store.append("a", NewEvent("t"))
    assert await anext(store.read_events("a"))
    await store.aclose()
    await store.aclose()
    await asyncio.sleep(0)
    assert tasks() == before
    assert threading.active_count() == threads
    with pytest.raises(AetherError, match="was closed; make a new one"):
        await store.get_events("a")


async def test_a_store_that_was_never_used_closes(nats_server: EmbeddedServer, namespace: str) -> None:
    """Closing what never connected does nothing, and says nothing."""
    before, threads = tasks(), threading.active_count()
    store = JetStreamEventStore(nats_server.url, namespace=namespace)
    await store.aclose()
    assert (tasks(), threading.active_count()) == (before, threads)
    with pytest.raises(AetherError, match="was closed; make a new one"):
        await store.get_events("a")


async def test_closing_with_calls_in_flight_ends_them(nats_server: EmbeddedServer, namespace: str) -> None:
    """Calls in flight end at once when the store is closed: a write that was sent is unknown, others say that it was closed."""
    before = tasks()
    async with Proxy(nats_server.url) as proxy:
        store = JetStreamEventStore(proxy.url, namespace=namespace, timeout_s=60)
        await store.append("a", NewEvent("t"))
        proxy.silent = True
        calls = [
            asyncio.ensure_future(call)
            for call in (
                store.append("a", NewEvent("t")),
                store.append("a", NewEvent("t")),
                store.get_events("a"),
                store.get_latest_version("b"),
            )
        ]
        await until(lambda: len(store._connection._carrier.transport._waiting) == 3)
        async with asyncio.timeout(40):
            await store.aclose()
            told = await asyncio.gather(*calls, return_exceptions=True)
        assert isinstance(told[0], OutcomeUnknownError)
        assert all(type(error) is AetherError and "was closed" in str(error) for error in told[1:]), told
    assert tasks() == before


async def test_closing_while_opening_leaves_nothing(nats_server: EmbeddedServer, namespace: str) -> None:
    """A store closed while it connects ends that call, and no connection is made afterwards."""
    before = tasks()
    async with Proxy(nats_server.url) as proxy:
        proxy.silent = True
        store = JetStreamEventStore(proxy.url, namespace=namespace, timeout_s=60)
        call = asyncio.ensure_future(store.get_events("a"))
        await until(lambda: store._connection._give_up is not None)
        async with asyncio.timeout(40):
            await store.aclose()
            with pytest.raises(AetherError, match="was closed"):
                await call
    assert tasks() == before


async def test_closing_an_embedded_store_while_it_starts_ends_the_server(tmp_path: Path) -> None:
    """A server that is about to start for a store which is closed meanwhile is ended, not left."""
    store = JetStreamEventStore(f"embedded:{tmp_path / 'data'}")
    call = asyncio.ensure_future(store.get_events("a"))
    await until(store._connection._opening.locked)
    await store.aclose()
    with pytest.raises(AetherError, match="was closed"):
        await call
    async with JetStreamEventStore(f"embedded:{tmp_path / 'data'}") as again:
        assert await again.get_events("a") == []


@pytest.mark.parametrize("after_s", [0.0, 0.001, 0.003, 0.01])
async def test_cancelling_the_first_call_leaves_the_store_usable(
    nats_server: EmbeddedServer, namespace: str, after_s: float
) -> None:
    """A call cancelled while the store opens leaves nothing behind, and the next call opens it."""
    before = tasks()
    store = JetStreamEventStore(nats_server.url, namespace=namespace)
    call = asyncio.ensure_future(store.append("a", NewEvent("t")))
    await asyncio.sleep(after_s)
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)
    version = await store.get_latest_version("a")
    assert (await store.append("a", NewEvent("t"))).version == version + 1
    await store.aclose()
    assert tasks() == before


async def test_cancelling_calls_in_flight_leaves_the_store_usable(nats_server: EmbeddedServer, namespace: str) -> None:
    """Cancelled writes may or may not be stored; those after them are right, and all that was acked is there."""
    history = History()
    async with JetStreamEventStore(nats_server.url, namespace=namespace) as store:
        for round_ in range(40):
            new = NewEvent("t", id=f"cancelled-{round_}")
            call = asyncio.ensure_future(store.append("a", new))
            for _ in range(round_ % 12):
                await asyncio.sleep(0)
            call.cancel()
            try:
                await call
            except asyncio.CancelledError:
                await history.write("a", new.id, 0, _unknown())
            else:
                await history.write("a", new.id, 0, _value(call))
            kept = NewEvent("t", id=f"kept-{round_}")
            await history.write("a", kept.id, 0, store.append("a", kept))
            await history.read("a", store.get_events("a"))
        assert not store._connection._carrier.transport._waiting
        assert not store._connection._carrier.transport._takers
    assert len(history.told("acked")) >= 40
    assert violations(history, await dump(nats_server.url, namespace), contiguous=True) == []


async def _unknown() -> tuple[int, int]:
    raise OutcomeUnknownError("a", 0)


async def _value(call: asyncio.Future[tuple[int, int]]) -> tuple[int, int]:
    return call.result()


async def test_cancelling_one_queued_writer_does_not_hold_the_others(nats_server: EmbeddedServer, namespace: str) -> None:
    """Of many writers of one actor in one process some are cancelled; the others are all acked, in order, without conflict."""
    async with JetStreamEventStore(nats_server.url, namespace=namespace) as store:
        calls = [asyncio.ensure_future(store.append("a", NewEvent("t", index))) for index in range(60)]
        await until(calls[0].done)
        for call in calls[1::3]:
            call.cancel()
        told = await asyncio.gather(*calls, return_exceptions=True)
        assert all(not isinstance(answer, Exception) for answer in told)
        versions = [answer.version for answer in told if not isinstance(answer, BaseException)]
        assert len(versions) >= 40
        assert versions == sorted(set(versions))
        assert (await store.append("a", NewEvent("t"))).version >= len(versions) + 1


async def test_many_tasks_of_one_actor_queue_without_conflicts(nats_server: EmbeddedServer, namespace: str) -> None:
    """Appends of many tasks to one actor get contiguous versions in the order in which they were called."""
    async with JetStreamEventStore(nats_server.url, namespace=namespace) as store:
        told = await asyncio.gather(*(store.append("a", NewEvent("t", index)) for index in range(100)))
        assert [answer.version for answer in told] == list(range(1, 101))
        assert [event.data for event in await store.get_events("a")] == list(range(100))


async def test_a_borrowed_client_works_and_stays_open(nats_server: EmbeddedServer, namespace: str) -> None:
    """A borrowed client is used, is left open with none of our subscriptions, and its owner's own traffic goes on."""
    async with stock_client(nats_server.url) as client:
        before = tasks()
        subscriptions = len(client._subs)
        async with JetStreamEventStore(client, namespace=namespace) as store:
            assert (await store.append("a", NewEvent("t"))).version == 1
            assert [event.version for event in await store.get_events("a")] == [1]
            assert "127.0.0.1" in repr(store)
        assert client.is_connected
        await client.flush()
        left = [sub for sub in client._subs.values() if sub._closed is False and "aether" in sub.subject]
        assert not left
        assert len(client._subs) <= subscriptions + 1, "only nats-py's own inbox may be new"
        assert len(tasks() - before) <= 1


async def test_a_borrowed_client_closed_by_its_owner_is_a_clear_error(nats_server: EmbeddedServer, namespace: str) -> None:
    """A borrowed client that its owner closes makes calls fail at once, with what to do."""
    client = await nats.connect(nats_server.url)
    store = JetStreamEventStore(client, namespace=namespace, timeout_s=60)
    await store.append("a", NewEvent("t"))
    await client.close()
    async with asyncio.timeout(40):
        with pytest.raises(ServerUnavailableError, match="borrowed client is closed"):
            await store.append("a", NewEvent("t"))
    await store.aclose()
    closed = JetStreamEventStore(client, namespace=namespace)
    with pytest.raises(ServerUnavailableError, match="borrowed client is closed"):
        await closed.get_events("a")


async def test_a_borrowed_client_drained_by_its_owner_is_a_clear_error(nats_server: EmbeddedServer, namespace: str) -> None:
    """A borrowed client that its owner drains ends calls with a clear error, and the store can still be closed."""
    client = await nats.connect(nats_server.url)
    store = JetStreamEventStore(client, namespace=namespace)
    await store.append("a", NewEvent("t"))
    await client.drain()
    with pytest.raises(ServerUnavailableError, match="borrowed client is closed"):
        await store.append("a", NewEvent("t"))
    await store.aclose()


async def test_a_borrowed_client_survives_a_lost_connection(nats_server: EmbeddedServer, namespace: str) -> None:
    """Over a borrowed client lost acks and reconnects are resolved as over an owned one."""
    history = History()
    async with (
        Proxy(nats_server.url) as proxy,
        stock_client(proxy.url, reconnect_time_wait=0, error_cb=_ignore) as client,
        JetStreamEventStore(client, namespace=namespace, timeout_s=60) as store,
    ):
        await store.get_events("a")
        asking_again(store, 0.5)
        for index in range(12):
            if index % 4 == 3:
                proxy.cut()
            proxy.lose_from_server = is_ack if index % 4 == 1 else lambda _: False
            new = NewEvent("t")
            call = asyncio.ensure_future(history.write("a", new.id, 0, store.append("a", new)))
            if index % 4 == 1:
                lost = proxy.lost
                await until(lambda lost=lost: proxy.lost > lost)
                proxy.lose_from_server = lambda _: False
            await call
    assert len(history.told("acked")) == 12
    assert violations(history, await dump(nats_server.url, namespace), contiguous=True) == []


async def _ignore(_: Exception) -> None:
    """Let a borrowed client reconnect in silence."""


def test_use_from_a_second_event_loop_is_a_clear_error(nats_server: EmbeddedServer, namespace: str) -> None:
    """A store belongs to the loop that opened it: another gets an error that says what to do, and cannot close it."""
    store = JetStreamEventStore(nats_server.url, namespace=namespace)
    with asyncio.Runner() as first, asyncio.Runner() as second:
        first.run(store.append("a", NewEvent("t")))
        with pytest.raises(AetherError, match="another event loop"):
            second.run(store.get_events("a"))
        with pytest.raises(AetherError, match="another event loop"):
            second.run(store.aclose())
        assert first.run(store.get_latest_version("a")) == 1
        first.run(store.aclose())


async def test_use_after_a_fork_is_a_clear_error(nats_server: EmbeddedServer, namespace: str) -> None:
    """A forked child cannot use or end its parent's connection, and the parent's goes on."""
    async with JetStreamEventStore(nats_server.url, namespace=namespace) as store:
        await store.save_event(Event("a", "t", 1))
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.write(writing, b" ".join([_told_in_child(store.get_events("a")), _told_in_child(store.aclose())]))
            os._exit(0)
        os.close(writing)
        await asyncio.to_thread(os.waitpid, child, 0)
        with os.fdopen(reading) as pipe:
            assert pipe.read() == "refused refused"
        assert await store.save_event(Event("a", "t", 2)) == 2


def _told_in_child(call: Coroutine[object, object, object]) -> bytes:
    try:
        asyncio.run(call)
    except AetherError as error:
        return b"refused" if "another event loop or process" in str(error) else str(error).encode()
    except BaseException as error:  # noqa: BLE001 - whatever it is, in the child it must not reach pytest
        return repr(error).encode()
    return b"worked"


async def test_a_reconnect_does_not_wait_for_the_deadline(nats_server: EmbeddedServer, namespace: str) -> None:
    """Calls in flight when the connection breaks are resolved as soon as it is back, not when an attempt runs out."""
    async with Proxy(nats_server.url) as proxy, JetStreamEventStore(proxy.url, namespace=namespace, timeout_s=200) as store:
        await store.append("a", NewEvent("t"))
        proxy.silent = True
        call = asyncio.ensure_future(store.append("a", NewEvent("t")))
        await until(lambda: store._connection._carrier.transport._waiting)
        proxy.cut()
        proxy.silent = False
        async with asyncio.timeout(40):  # an attempt has 50 s
            assert (await call).version == 2
