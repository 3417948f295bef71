"""The store of a shard's owner on a real server: what it takes, what it refuses, and who wins."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from faults.dump import api, dump, stock_client
from faults.proxy import Proxy, is_event, nothing
from faults.waiting import until
from owning import Lease, fenced_store, own, own_actor

from aether import (
    CorruptEventError,
    Event,
    JetStreamEventStore,
    NamespaceMismatchError,
    NewEvent,
    NotOwnerError,
    Snapshot,
    VersionConflictError,
)
from aether._native import shard_of

if TYPE_CHECKING:
    from aether import EmbeddedServer


async def test_the_first_opener_fixes_the_mode(nats_server: EmbeddedServer, namespace: str) -> None:
    """A node's store makes the namespace for shards' owners, and says so in the stream's metadata."""
    async with fenced_store(nats_server.url, namespace), stock_client(nats_server.url) as client:
        made = (await api(client, f"STREAM.INFO.AETHER-EVENTS-{namespace}"))["config"]
        assert made["metadata"]["aether-guard"] == "shard"
        assert made["allow_direct"]
    async with fenced_store(nats_server.url, namespace, "node-2") as again:
        await own_actor(again, "a")
        assert (await again.append("a", NewEvent("t"))).version == 1


async def test_a_plain_store_reads_a_sharded_namespace_and_writes_nothing(nats_server: EmbeddedServer, namespace: str) -> None:
    """Every way to read works; every way to write is refused, with who writes there and how to go over, and leaves no trace."""
    async with fenced_store(nats_server.url, namespace) as owner:
        await own_actor(owner, "a")
        await owner.append("a", [NewEvent("t", 1), NewEvent("t", 2)])
        await owner.save_snapshot(Snapshot("a", 2, {"n": 2}))
        before = await dump(nats_server.url, namespace)
        async with JetStreamEventStore(nats_server.url, namespace=namespace) as plain:
            assert [event.data async for batch in plain.read_all() for event in batch] == [1, 2]
            assert [event.data for event in await plain.get_events("a")] == [1, 2]
            assert await plain.get_latest_version("a") == 2
            assert (await plain.get_latest_snapshot("a") or Snapshot("a", 1, None)).version == 2
            writes = [
                plain.append("a", NewEvent("t")),
                plain.save_event(Event("a", "t", 3)),
                plain.save_events([Event("a", "t", 3)]),
                plain.save_snapshot(Snapshot("a", 1, None)),
                plain.repair("a"),
                plain.ingest().__aenter__(),
            ]
            for write in writes:
                with pytest.raises(NamespaceMismatchError, match=r"ClusterNode\.join.*import --sharded") as caught:
                    await write
                assert "guard mode is 'shard'" in caught.value.differences[0]
        assert await dump(nats_server.url, namespace) == before


async def test_a_node_refuses_a_namespace_of_plain_stores(nats_server: EmbeddedServer, namespace: str) -> None:
    """A node cannot keep plain stores out, so it does not open what they write to, and says how to go over."""
    async with JetStreamEventStore(nats_server.url, namespace=namespace):
        pass
    with pytest.raises(NamespaceMismatchError, match=r"guard mode is 'actor'.*import --sharded"):
        async with fenced_store(nats_server.url, namespace):
            pass


async def test_only_owned_shards_take_writes(nats_server: EmbeddedServer, namespace: str) -> None:
    """A shard takes writes from when it is opened until it is released or the lease is over; the error names shard and owner."""
    lease = Lease()
    async with fenced_store(nats_server.url, namespace, lease=lease) as store:
        shard, deadline = shard_of("a"), asyncio.get_running_loop().time() + 10

        async def refused() -> None:
            assert store.epoch_of(shard) is None
            with pytest.raises(NotOwnerError) as caught:
                await store.append("a", NewEvent("t"))
            assert (caught.value.shard, caught.value.owner) == (shard, "another")

        await refused()
        epoch = await store.take(shard, 1, deadline)
        await refused()
        store.open_shard(shard)
        assert store.epoch_of(shard) == epoch
        assert (await store.append("a", NewEvent("t"))).position == epoch + 1
        lease.valid = False
        await refused()
        lease.valid = True
        await store.append("a", NewEvent("t"))
        await store.release(shard, deadline)
        await refused()
        assert len(await store.get_events("a")) == 2
    records = [stored for stored in await dump(nats_server.url, namespace) if stored.subject.endswith(".=epoch")]
    assert [record.position for record in records] == [epoch]


async def test_commits_name_their_epoch(nats_server: EmbeddedServer, namespace: str) -> None:
    """Each commit carries the position of the record under which it was written."""
    async with fenced_store(nats_server.url, namespace) as store:
        for incarnation in (1, 2):
            shard = await own_actor(store, "a", incarnation)
            epoch = store.epoch_of(shard)
            position = (await store.append("a", NewEvent("t"))).position
            stored = (await dump(nats_server.url, namespace))[position - 1]
            assert stored.commit["epoch"] == epoch
            record = (await dump(nats_server.url, namespace))[(epoch or 0) - 1].commit
            assert (record["node"], record["incarnation"]) == ("node-1", incarnation)


async def test_a_deposed_owner_is_refused_by_the_server(nats_server: EmbeddedServer, namespace: str) -> None:
    """An owner that does not know of its deposition learns it at its next write, and with it who has the shard."""
    async with fenced_store(nats_server.url, namespace) as old, fenced_store(nats_server.url, namespace, "node-2") as new:
        shard = await own_actor(old, "a")
        assert (await old.append("a", NewEvent("t"))).version == 1
        await own_actor(new, "a")
        assert old.epoch_of(shard) is not None
        with pytest.raises(NotOwnerError) as caught:
            await old.append("a", NewEvent("t"))
        assert (caught.value.shard, caught.value.owner) == (shard, "node-2")
        assert old.epoch_of(shard) is None
        assert (await new.append("a", NewEvent("t"))).version == 2


async def test_a_deposed_owner_does_not_judge_by_what_it_remembers(nats_server: EmbeddedServer, namespace: str) -> None:
    """A conflict, and an event that is stored already, are told by who owns the shard, not by who has lost it."""
    async with fenced_store(nats_server.url, namespace) as old, fenced_store(nats_server.url, namespace, "node-2") as new:
        await own_actor(old, "a")
        event = Event("a", "t", 1)
        position = await old.save_event(event)
        await own_actor(new, "a")
        with pytest.raises(NotOwnerError):
            await old.append("a", NewEvent("t"), expected_version=7)
        assert await new.save_event(event) == position
        with pytest.raises(VersionConflictError) as caught:
            await new.append("a", NewEvent("t"), expected_version=7)
        assert caught.value.actual == 1


async def test_what_was_remembered_before_a_takeover_is_not_used(nats_server: EmbeddedServer, namespace: str) -> None:
    """A shard that went to another node and came back is written on top of what the other wrote."""
    async with fenced_store(nats_server.url, namespace) as first, fenced_store(nats_server.url, namespace, "node-2") as second:
        for round_ in range(3):
            for store in (first, second):
                await own_actor(store, "a", round_ + 1)
                await store.append("a", NewEvent("t"))
        versions = [event.version for event in await first.get_events("a")]
        assert versions == [1, 2, 3, 4, 5, 6]


async def test_concurrent_appends_of_a_shard_queue_and_never_conflict(nats_server: EmbeddedServer, namespace: str) -> None:
    """A hundred appends at once to actors of one shard are all stored, without a gap and without a refusal."""
    async with fenced_store(nats_server.url, namespace) as store:
        shard = await own_actor(store, "a")
        other = next(name for name in (f"b{number}" for number in range(100_000)) if shard_of(name) == shard)
        await asyncio.gather(*(store.append(name, NewEvent("t")) for name in ("a", other) for _ in range(50)))
        for name in ("a", other):
            assert [event.version for event in await store.get_events(name)] == list(range(1, 51))


async def test_a_release_waits_for_the_write_on_its_way(nats_server: EmbeddedServer, namespace: str) -> None:
    """What was on its way is stored, what waited behind it is refused as a whole, and the next owner goes on behind it."""
    async with fenced_store(nats_server.url, namespace) as store, fenced_store(nats_server.url, namespace, "node-2") as other:
        shard = await own_actor(store, "a")
        await store.append("a", NewEvent("t"))
        writes = [asyncio.create_task(store.append("a", NewEvent("t"))) for _ in range(20)]
        await asyncio.sleep(0)
        await store.release(shard, asyncio.get_running_loop().time() + 10)
        ends = await asyncio.gather(*writes, return_exceptions=True)
        stored = [end for end in ends if not isinstance(end, BaseException)]
        assert all(isinstance(end, NotOwnerError) for end in ends if isinstance(end, BaseException))
        await own_actor(other, "a")
        assert (await other.append("a", NewEvent("t"))).version == len(stored) + 2


async def test_a_foreign_message_is_passed_by_others_and_loud_for_its_actor(nats_server: EmbeddedServer, namespace: str) -> None:
    """What somebody published without a guard stops the actor until it is repaired, and no other actor of the shard."""
    async with fenced_store(nats_server.url, namespace) as store, stock_client(nats_server.url) as client:
        shard = await own_actor(store, "a")
        other = next(name for name in (f"b{number}" for number in range(100_000)) if shard_of(name) == shard)
        await store.append("a", NewEvent("t"))
        await store.append(other, NewEvent("t"))
        foreign = await client.jetstream().publish(f"aether.{namespace}.{shard}.a", b"foreign")
        assert (await store.append(other, NewEvent("t"))).version == 2
        with pytest.raises(CorruptEventError) as caught:
            await store.append("a", NewEvent("t"))
        assert caught.value.position == foreign.seq
        assert await store.repair("a") == (foreign.seq,)
        assert await store.repair("a") == ()
        assert (await store.append("a", NewEvent("t"))).version == 2
        assert [event.version for event in await store.get_events("a")] == [1, 2]
        commits = [stored for stored in await dump(nats_server.url, namespace) if stored.position > foreign.seq]
        assert {stored.commit["epoch"] for stored in commits} == {store.epoch_of(shard)}


async def test_a_repair_needs_the_shard(nats_server: EmbeddedServer, namespace: str) -> None:
    """A node repairs actors of its own shards only."""
    async with fenced_store(nats_server.url, namespace) as store:
        with pytest.raises(NotOwnerError):
            await store.repair("a")


async def test_all_shards_are_taken_in_one_go(nats_server: EmbeddedServer, namespace: str) -> None:
    """1021 shards get their records, each once, and readers step over them all."""
    async with fenced_store(nats_server.url, namespace) as store:
        await own(store, range(1021))
        await store.append("a", NewEvent("t"))
        assert [len(batch) async for batch in store.read_all()] == [1]
        assert all(store.epoch_of(shard) is not None for shard in range(1021))
    assert len(await dump(nats_server.url, namespace)) == 1022


async def test_a_write_in_doubt_does_not_keep_its_shard_from_being_taken_again(
    nats_server: EmbeddedServer, namespace: str
) -> None:
    """The record of a new epoch decides what became of a write under the earlier one, so it does not wait for that write."""
    lease = Lease()
    async with Proxy(nats_server.url) as proxy, fenced_store(proxy.url, namespace, lease=lease, timeout_s=24) as store:
        shard = await own_actor(store, "a")
        proxy.lose_from_client = is_event
        doubtful = asyncio.create_task(store.append("a", NewEvent("t")))
        await until(lambda: proxy.lost)
        lease.valid = False
        store.close_shards()
        proxy.lose_from_client = nothing
        lease.valid = True
        async with asyncio.timeout(30):
            await store.take(shard, 2, asyncio.get_running_loop().time() + 30)
            store.open_shard(shard)
            with pytest.raises(NotOwnerError):
                await doubtful
        assert (await store.append("a", NewEvent("t"))).version == 1
