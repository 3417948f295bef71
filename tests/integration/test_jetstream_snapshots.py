"""Snapshots on JetStream: never newer than the log, never trusted when damaged, never older after a race."""

from __future__ import annotations

import asyncio
import logging
import random
from typing import TYPE_CHECKING, Any

import msgpack
import pytest
from faults.dump import crafted, dump, sealed, stock_client
from faults.proxy import Frame, Proxy, is_ack
from faults.waiting import hurried

from aether import (
    CommitTooLargeError,
    CorruptEventError,
    JetStreamEventStore,
    NewEvent,
    OutcomeUnknownError,
    Snapshot,
    VersionConflictError,
)
from aether._native import actor_subject
from aether.nats.subjects import snapshot_subject
from aether.testing.servers import running_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from nats.aio.client import Client

    from aether import EmbeddedServer


@pytest.fixture
async def store(nats_server: EmbeddedServer, namespace: str) -> AsyncIterator[JetStreamEventStore]:
    """A store with an actor "a" at version 5."""
    async with JetStreamEventStore(nats_server.url, namespace=namespace) as store:
        await store.append("a", [NewEvent("t", index) for index in range(5)])
        yield store


@pytest.fixture
async def client(nats_server: EmbeddedServer) -> AsyncIterator[Client]:
    """A stock client."""
    async with stock_client(nats_server.url) as client:
        yield client


async def fold(store: JetStreamEventStore, actor_id: str, *, through_snapshot: bool) -> list[Any]:
    """An actor's state (all data in order), loaded through its snapshot or without."""
    snapshot = await store.get_latest_snapshot(actor_id) if through_snapshot else None
    state, version = (list(snapshot.state), snapshot.version) if snapshot else ([], 0)
    return state + [event.data for event in await store.get_events(actor_id, version + 1)]


async def test_the_latest_snapshot_comes_back_and_an_older_one_changes_nothing(
    store: JetStreamEventStore, nats_server: EmbeddedServer, namespace: str
) -> None:
    """A snapshot comes back whole; a later one replaces it, an older one does not; one message an actor is kept."""
    for version, latest in ((2, 2), (4, 4), (3, 4), (5, 5), (5, 5)):
        await store.save_snapshot(Snapshot("a", version, {"at": version}))
        kept = await store.get_latest_snapshot("a")
        assert kept is not None
        assert (kept.version, kept.state) == (latest, {"at": latest})
    async with JetStreamEventStore(nats_server.url, namespace=namespace) as other:
        assert await other.get_latest_snapshot("a") == kept
        assert await other.get_latest_snapshot("b") is None


async def test_a_snapshot_ahead_of_the_log_is_refused(
    store: JetStreamEventStore, nats_server: EmbeddedServer, namespace: str
) -> None:
    """Saving a snapshot of a version that is not in the log yet is a conflict that names the real version."""
    async with JetStreamEventStore(nats_server.url, namespace=namespace) as fresh:
        for of in (store, fresh):
            with pytest.raises(VersionConflictError) as caught:
                await of.save_snapshot(Snapshot("a", 6, None))
            assert caught.value.actual == 5
            with pytest.raises(VersionConflictError):
                await of.save_snapshot(Snapshot("never", 1, None))


PLANTED: dict[str, Callable[[Snapshot], bytes]] = {
    "foreign": lambda _: b"hello",
    "empty": lambda _: b"",
    "truncated": lambda snapshot: snapshot._to_bytes()[:-3],
    "bit flipped": lambda snapshot: bytes(
        [*snapshot._to_bytes()[:-20], snapshot._to_bytes()[-20] ^ 1, *snapshot._to_bytes()[-19:]]
    ),
    "a later format": lambda snapshot: sealed({**_open(snapshot), "format": 2}),
    "another actor's": lambda _: Snapshot("b", 2, ["b"])._to_bytes(),
    "ahead of the log": lambda _: Snapshot("a", 99, ["from nowhere"])._to_bytes(),
    "a commit": lambda _: crafted("a", [1], []),
}


def _open(snapshot: Snapshot) -> dict[str, Any]:
    plain: dict[str, Any] = msgpack.unpackb(snapshot._to_bytes())
    del plain["crc"]
    return plain


@pytest.mark.parametrize("planted", PLANTED)
async def test_what_cannot_be_trusted_is_ignored_said_and_replaced(
    store: JetStreamEventStore, client: Client, namespace: str, *, planted: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A damaged, unknown, foreign or too new snapshot is as none, is named in the log, and gives way to the next one."""
    await store.save_snapshot(Snapshot("a", 3, [0, 1, 2]))
    body = PLANTED[planted](Snapshot("a", 3, ["altered"]))
    await client.jetstream().publish(snapshot_subject(namespace, "a"), body)
    with caplog.at_level(logging.WARNING, logger="aether.store"):
        assert await store.get_latest_snapshot("a") is None
    assert "it is ignored" in caplog.text
    assert f"AETHER-SNAPSHOTS-{namespace}" in caplog.text
    assert await fold(store, "a", through_snapshot=True) == [0, 1, 2, 3, 4]
    await store.save_snapshot(Snapshot("a", 4, [0, 1, 2, 3]))
    kept = await store.get_latest_snapshot("a")
    assert kept is not None
    assert kept.version == 4


async def test_a_damaged_log_is_not_hidden_by_a_snapshot(store: JetStreamEventStore, client: Client, namespace: str) -> None:
    """Damage in the events is told when the snapshot is asked for, with stream and position."""
    await store.save_snapshot(Snapshot("a", 3, [0, 1, 2]))
    ack = await client.jetstream().publish(actor_subject(namespace, "a"), b"damage")
    with pytest.raises(CorruptEventError) as caught:
        await store.get_latest_snapshot("a")
    assert (caught.value.stream, caught.value.position) == (f"AETHER-EVENTS-{namespace}", ack.seq)


async def test_racing_savers_leave_the_latest(nats_server: EmbeddedServer, namespace: str, store: JetStreamEventStore) -> None:
    """Savers of many versions from several stores at once leave the highest, and whatever is loaded is never older than seen."""
    await store.append("a", [NewEvent("t", index) for index in range(5, 40)])
    stores = [JetStreamEventStore(nats_server.url, namespace=namespace) for _ in range(4)]
    versions = list(range(1, 41))
    random.Random(7).shuffle(versions)
    seen: list[int] = []

    async def save(of: JetStreamEventStore, mine: list[int]) -> None:
        for version in mine:
            await of.save_snapshot(Snapshot("a", version, list(range(version))))
            kept = await of.get_latest_snapshot("a")
            assert kept is not None
            assert kept.version >= version
            seen.append(kept.version)

    await asyncio.gather(*(save(of, versions[number::4]) for number, of in enumerate(stores)))
    kept = await store.get_latest_snapshot("a")
    assert kept is not None
    assert kept.version == 40
    async with stock_client(nats_server.url) as client:
        assert (await client.jetstream().stream_info(f"AETHER-SNAPSHOTS-{namespace}")).state.messages == 1
    for of in stores:
        await of.aclose()


async def test_loading_through_a_snapshot_while_it_moves_equals_loading_without(
    nats_server: EmbeddedServer, namespace: str, store: JetStreamEventStore
) -> None:
    """While one process appends and snapshots, another's loads through the snapshot are what a full load shows, never None."""
    await store.save_snapshot(Snapshot("a", 5, list(range(5))))
    done = False

    async def write() -> None:
        nonlocal done
        for version in range(6, 60):
            await store.append("a", NewEvent("t", version - 1))
            await store.save_snapshot(Snapshot("a", version, list(range(version))))
        done = True

    async def read() -> None:
        async with JetStreamEventStore(nats_server.url, namespace=namespace) as reader:
            while not done:
                assert await reader.get_latest_snapshot("a") is not None, "a snapshot written meanwhile seemed to be ahead"
                state = await fold(reader, "a", through_snapshot=True)
                assert state == list(range(len(state)))
                assert len(await fold(reader, "a", through_snapshot=False)) >= len(state)

    await asyncio.gather(write(), read(), read())


async def test_a_lost_ack_of_a_snapshot_is_resolved(nats_server: EmbeddedServer, namespace: str) -> None:
    """A snapshot whose ack was lost is saved all the same; if no answer comes at all the outcome is unknown."""
    async with Proxy(nats_server.url) as proxy, JetStreamEventStore(proxy.url, namespace=namespace, timeout_s=60) as store:
        await store.append("a", NewEvent("t"))
        store._snapshots._snapshots._attempt_s = 0.5
        proxy.lose_from_server = is_ack
        await store.save_snapshot(Snapshot("a", 1, "one"))
        assert proxy.lost == 1
        kept = await store.get_latest_snapshot("a")
        assert kept is not None
        assert kept.state == "one"

        def after_a_publish(frame: Frame) -> bool:
            if frame.line.startswith(b"HPUB aether-snap."):
                proxy.lose_from_server = lambda frame: frame.line.startswith((b"MSG", b"HMSG"))
            return False

        proxy.lose_from_client = after_a_publish
        with hurried(store, 2.0), pytest.raises(OutcomeUnknownError):
            await store.save_snapshot(Snapshot("a", 1, "two"))


async def test_a_snapshot_beyond_the_server_limit_is_told() -> None:
    """A state that fits no message is `CommitTooLargeError` with the server's limit."""
    with running_server({"max_payload": 4096}) as server:
        async with JetStreamEventStore(server.url) as store:
            await store.append("a", NewEvent("t"))
            with pytest.raises(CommitTooLargeError, match="4,096"):
                await store.save_snapshot(Snapshot("a", 1, "x" * 4096))


async def test_a_snapshot_of_a_repaired_actor_loads(
    store: JetStreamEventStore, client: Client, nats_server: EmbeddedServer, namespace: str
) -> None:
    """After damage and repair, snapshot and events fold to the same state."""
    await client.jetstream().publish(actor_subject(namespace, "a"), b"damage")
    await store.repair("a")
    await store.append("a", NewEvent("t", 5))
    await store.save_snapshot(Snapshot("a", 6, list(range(6))))
    await store.append("a", NewEvent("t", 6))
    assert await fold(store, "a", through_snapshot=True) == await fold(store, "a", through_snapshot=False) == list(range(7))
    assert [message.body for message in await dump(nats_server.url, namespace)][1] == b"damage"
