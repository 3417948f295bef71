"""What an owner does with answers that are out of date: a replica that lags, a leader that was deposed and does not know it.

The guard speaks of the shard, so the server takes a commit on top of an old head of the actor: only the proof keeps it out.
"""

from __future__ import annotations

import asyncio
import os
import signal
from typing import TYPE_CHECKING

import pytest
from faults.dump import dump
from faults.epochs import epoch_violations
from lagging import forget, lagging
from owning import fenced_store, own_actor

from aether import DeadlineError, Event, NewEvent, NotOwnerError
from aether._native import shard_of
from aether.store.fence import ShardFence

if TYPE_CHECKING:
    from conftest import Size

    from aether import EmbeddedServer
    from aether.testing import NatsCluster


async def test_an_answer_from_before_the_last_write_is_no_head(nats_server: EmbeddedServer, namespace: str) -> None:
    """A replica that does not know of the owner's own last write is asked until it does, and the version is the next one."""
    async with lagging(nats_server.url, namespace) as (store, carrier):
        assert (await store.append("a", NewEvent("t"))).version == 1
        forget(store)
        carrier.stale, carrier.asked = 3, 0
        assert (await store.append("a", NewEvent("t"))).version == 2
        assert carrier.asked == 4


async def test_a_conflict_and_a_retry_are_not_judged_by_an_old_answer(nats_server: EmbeddedServer, namespace: str) -> None:
    """An event that is stored is found, though the first answers do not have it."""
    async with lagging(nats_server.url, namespace) as (store, carrier):
        event = Event("a", "t", 1, {"n": 1})
        position = await store.save_event(event)
        forget(store)
        carrier.stale = 2
        assert await store.save_event(event) == position


async def test_answers_that_stay_old_end_in_a_deadline(nats_server: EmbeddedServer, namespace: str) -> None:
    """An owner whose replica never catches up writes nothing, and says that nothing was written."""
    async with lagging(nats_server.url, namespace, 1.0) as (store, carrier):
        await store.append("a", NewEvent("t"))
        forget(store)
        carrier.stale = 10**6
        with pytest.raises(DeadlineError):
            await store.append("a", NewEvent("t"))
    assert len(await dump(nats_server.url, namespace)) == 2


async def test_an_old_answer_does_not_hide_a_deposition(nats_server: EmbeddedServer, namespace: str) -> None:
    """An owner that was deposed, and whose replica does not know, is refused by the server."""
    async with lagging(nats_server.url, namespace) as (store, carrier), fenced_store(nats_server.url, namespace, "n2") as other:
        await store.append("a", NewEvent("t"))
        await carrier.remember()
        await own_actor(other, "a")
        assert (await other.append("a", NewEvent("t"))).version == 2
        forget(store)
        carrier.stale = 10**6
        with pytest.raises(NotOwnerError) as caught:
            await store.append("a", NewEvent("t"))
        assert caught.value.owner == "n2"


async def test_without_the_proof_the_server_would_take_a_wrong_version(
    nats_server: EmbeddedServer, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The planted bug, an owner that believes any answer, gives a version twice: the guard alone does not keep it out."""
    proves = ShardFence.proves
    monkeypatch.setattr(ShardFence, "proves", lambda self, record, _: proves(self, record, 10**18))
    async with lagging(nats_server.url, namespace) as (store, carrier):
        await store.append("a", NewEvent("t"))
        forget(store)
        carrier.stale = 1
        assert (await store.append("a", NewEvent("t"))).version == 1
    assert epoch_violations(await dump(nats_server.url, namespace), [])


async def test_heads_that_are_asked_for_right_after_a_write_on_three_servers(
    nats_cluster: NatsCluster, namespace: str, size: Size
) -> None:
    """An owner that forgets every head, and whose own server follows, never gets a version wrong."""
    async with fenced_store(nats_cluster.urls[0], namespace, replicas=3):
        leader = await nats_cluster.leader_of(f"AETHER-EVENTS-{namespace}")
    async with fenced_store(nats_cluster.urls[leader - 1], namespace) as store:
        await own_actor(store, "a")
        for number in range(size.pick(30, 300, 3000)):
            assert (await store.append("a", NewEvent("t"))).version == number + 1
            forget(store)
    assert epoch_violations(await dump(nats_cluster.urls, namespace), []) == []


async def test_a_leader_that_wakes_with_its_owner_lets_neither_write(nats_cluster: NatsCluster, namespace: str) -> None:
    """A leader that slept through a takeover, and wakes believing to lead, lets no write of its sleeping owner in.

    Whatever that leader answers, the owner ends by being told who has the shard.
    """
    async with fenced_store(nats_cluster.urls[0], namespace, replicas=3):
        leader = await nats_cluster.leader_of(f"AETHER-EVENTS-{namespace}")
    pid = nats_cluster.servers[leader].pid
    urls = [url for number, url in enumerate(nats_cluster.urls) if number != leader]
    async with fenced_store(nats_cluster.urls[leader], namespace, "old", timeout_s=30.0) as old:
        await own_actor(old, "a")
        assert (await old.append("a", NewEvent("t"))).version == 1
        os.kill(pid, signal.SIGSTOP)
        try:
            async with fenced_store(",".join(urls), namespace, "new", timeout_s=30.0) as new:
                await new.take(shard_of("a"), 1, asyncio.get_running_loop().time() + 30)
                new.open_shard(shard_of("a"))
                assert (await new.append("a", NewEvent("t"))).version == 2
                forget(old)
                late = asyncio.create_task(old.append("a", NewEvent("t")))
                await asyncio.sleep(0)  # it is on its way to the server that is stopped
                os.kill(pid, signal.SIGCONT)
                with pytest.raises(NotOwnerError) as caught:
                    await late
                assert caught.value.owner == "new"
                assert (await new.append("a", NewEvent("t"))).version == 3
        finally:
            os.kill(pid, signal.SIGCONT)
            await asyncio.to_thread(nats_cluster.wait_until_whole)
    stored = await dump(urls, namespace)
    assert epoch_violations(stored, []) == []
    assert len([message for message in stored if not message.is_epoch]) == 3
