"""Subscriptions proven on every server of a cluster: nothing is missed, and what cannot be proven is named."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import pytest
from faults.stopping import stopped
from faults.tap import Tap
from faults.waiting import until
from feeding import Listener, due, events_of, transport_to
from witnessing import EVENTS, missed, names_instead, until_heard, witnesses

from aether import EmbeddedServer, ServersUnreachableError
from aether._native import Tally
from aether.nats.errors import UnansweredError
from aether.nats.witnesses import Witnesses

if TYPE_CHECKING:
    from conftest import Size

    from aether.nats.transport import Transport
    from aether.testing import NatsCluster


class OwnServerOnly(Witnesses):
    """The bug that witnesses are for: the own server's word is taken for all."""

    async def prove(self, transport: Transport, deadline: float) -> None:
        """Return when the own server has it."""
        await transport.flush(deadline)


@pytest.mark.parametrize("kind", ["lane", "borrowed"])
@pytest.mark.timeout(300)
async def test_nothing_is_missed_that_other_servers_take_at_once(
    kind: str, nats_cluster: NatsCluster, namespace: str, size: Size
) -> None:
    """After a proof everything that a publisher on each other server publishes at once arrives, again and again."""
    turns = size.pick(300 if kind == "lane" else 100, 500, 3_000)
    async with AsyncExitStack() as stack:
        transport = await stack.enter_async_context(transport_to(nats_cluster.urls[0], kind))
        publishers = [await stack.enter_async_context(transport_to(url)) for url in nats_cluster.urls[1:]]
        proof, told = await stack.enter_async_context(witnesses())
        assert await missed(transport, publishers, proof, namespace, turns) == 0
        assert told == []


async def test_without_witnesses_events_are_missed(nats_cluster: NatsCluster, namespace: str) -> None:
    """The own server's word alone misses events of a server that is slow to hear of the subscription: the test above can fail."""
    slow, proof = nats_cluster.servers[1], OwnServerOnly(10.0, print)
    async with transport_to(nats_cluster.urls[0]) as transport, transport_to(slow.url) as publisher:
        for turn in range(100):
            listener, last = Listener(f"{namespace}-{turn}"), Listener(f"{namespace}-{turn}-end")
            async with stopped(slow.pid):
                await listener.listen(transport)
                await proof.prove(transport, due())
                await publisher.publish_events(listener.namespace, events_of("a", EVENTS), 0, due())
            await last.listen(transport)
            await until_heard(last, transport, [publisher])
            if len(listener.taken()) < EVENTS:
                return
        pytest.fail("nothing was missed in 100 turns")


async def test_a_single_server_costs_one_round_trip_and_no_connection(nats_server: EmbeddedServer, namespace: str) -> None:
    """Where there is one server its word is enough: it is asked once, and nobody else connects."""
    async with Tap(nats_server.url) as tap, transport_to(tap.url) as transport, witnesses() as (proof, _):
        before, said = tap.seen, tap.lane.sent_down
        await Listener(namespace).listen(transport)
        await proof.prove(transport, due())
        assert tap.lane.sent_down - said == len(b"PONG\r\n")
        assert tap.seen == before


async def test_proofs_at_once_share_their_connections(nats_cluster: NatsCluster) -> None:
    """A hundred proofs at once and one after another keep one connection to each other server, and leave no inbox behind."""
    async with Tap(nats_cluster.urls[1]) as tap, transport_to(nats_cluster.urls[0]) as transport, witnesses() as (proof, told):
        names_instead(transport, nats_cluster.urls[1], tap.url)
        await asyncio.gather(*(proof.prove(transport, due()) for _ in range(100)))
        for _ in range(10):
            await proof.prove(transport, due())
        assert len(tap.lanes) == tap.seen == 1
        assert not transport._inboxes
        assert told == []


async def test_addresses_of_one_server_count_as_one(nats_cluster: NatsCluster) -> None:
    """A server that is named by several addresses, our own too, has one witness, or none."""
    own, second = nats_cluster.urls[:2]
    async with Tap(second) as tap, Tap(own) as to_own, transport_to(own) as transport, witnesses() as (proof, told):
        names_instead(transport, second, tap.url, second, second.replace("127.0.0.1", "localhost"), to_own.url)
        for _ in range(3):
            await proof.prove(transport, due())
        open_to = [witness for witness in proof._of_url.values() if witness.lane is not None]
        assert len({witness.server_id for witness in open_to}) == len(open_to) == 2
        assert transport.info.server_id not in {witness.server_id for witness in open_to}
        assert not to_own.lanes
        assert told == []


async def test_a_server_that_does_not_answer_is_named(nats_cluster: NatsCluster) -> None:
    """A server that is named and silent is `ServersUnreachableError` at the deadline, with its URL; awake, it is proven."""
    silent = nats_cluster.servers[1]
    async with transport_to(nats_cluster.urls[0]) as transport, witnesses() as (proof, _):
        async with stopped(silent.pid):
            deadline = due(1.0)
            with pytest.raises(ServersUnreachableError, match='ready="server"') as caught:
                await proof.prove(transport, deadline)
            assert caught.value.servers == (silent.url,)
            assert asyncio.get_running_loop().time() >= deadline
        await proof.prove(transport, due())


async def test_a_server_that_is_killed_while_it_is_proven_is_no_longer_asked_for(nats_cluster: NatsCluster) -> None:
    """A proof that waits for a silent server ends well when that server is gone and is no longer named."""
    silent = nats_cluster.servers[1]
    async with transport_to(nats_cluster.urls[0]) as transport, witnesses() as (proof, _):
        async with stopped(silent.pid):
            proving = asyncio.ensure_future(proof.prove(transport, due(200)))
            await until(lambda: proof._of_url and not proving.done())
            await nats_cluster.kill(1)
        await proving
        assert silent.url.removeprefix("nats://") not in transport.info.connect_urls


async def test_a_server_that_is_about_to_go_is_still_proven(nats_cluster: NatsCluster, namespace: str) -> None:
    """A lame duck is named no more, but its clients publish on: what was proven on it before goes on being proven."""
    leaving = nats_cluster.servers[1]
    async with AsyncExitStack() as stack:
        transport = await stack.enter_async_context(transport_to(nats_cluster.urls[0]))
        publisher = await stack.enter_async_context(transport_to(leaving.url, "borrowed"))  # a lane would leave
        proof, _ = await stack.enter_async_context(witnesses())
        await proof.prove(transport, due())
        os.kill(leaving.pid, signal.SIGUSR2)
        await until(lambda: leaving.url.removeprefix("nats://") not in transport.info.connect_urls)
        assert await missed(transport, [publisher], proof, namespace, 100) == 0
    await nats_cluster.kill(1)
    await nats_cluster.restart(1)


async def test_an_own_connection_that_breaks_ends_the_proof(nats_cluster: NatsCluster) -> None:
    """Lost while it is proven, the own connection ends the proof at once, not at the deadline."""
    async with (
        Tap(nats_cluster.urls[0]) as tap,
        transport_to(tap.url) as transport,
        witnesses() as (proof, _),
        stopped(nats_cluster.servers[1].pid),
    ):
        proving = asyncio.ensure_future(proof.prove(transport, due(200)))
        await until(lambda: transport._inboxes)
        tap.lane.cut()
        with pytest.raises(UnansweredError):
            await asyncio.wait_for(proving, 60)


async def test_a_connection_that_is_left_proves_nothing(nats_cluster: NatsCluster) -> None:
    """A lane that is being left for another is no place to prove anything: what changes there is no longer heard."""
    async with transport_to(nats_cluster.urls[0]) as transport, witnesses() as (proof, _):
        await proof.prove(transport, due())
        inbox = await transport.open_inbox(Tally(), lambda: None, lambda *_: None)  # so that it stays up
        leaving = asyncio.ensure_future(transport.drain(due()))
        await until(lambda: not transport.is_open())
        with pytest.raises(UnansweredError):
            await proof.prove(transport, due())
        await inbox.aclose()
        await leaving


async def test_nothing_is_left_behind(nats_cluster: NatsCluster) -> None:
    """Closed while it proves and after, witnesses leave no task and no connection."""
    before = asyncio.all_tasks()
    async with Tap(nats_cluster.urls[1]) as tap, transport_to(nats_cluster.urls[0]) as transport:
        names_instead(transport, nats_cluster.urls[1], tap.url)
        async with witnesses() as (proof, told):
            await proof.prove(transport, due())
            assert tap.lanes
        await until(lambda: not tap.links)
        async with witnesses() as (proof, _):
            proving = asyncio.ensure_future(proof.prove(transport, due()))
            await until(lambda: proof._of_url)
            proving.cancel()
            await asyncio.wait([proving])
        await until(lambda: not tap.links)
        assert not transport._inboxes
        assert told == []
    assert asyncio.all_tasks() == before
