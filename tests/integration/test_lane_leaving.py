"""Servers that are about to go (lame duck): the lane moves to another, and no caller hears of it."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import TYPE_CHECKING

import pytest
from faults.dump import dump
from faults.history import History, violations
from faults.tap import Plan, Tap, tapped
from faults.waiting import until

from aether import JetStreamEventStore, NewEvent

if TYPE_CHECKING:
    from conftest import Size

    from aether import EmbeddedServer
    from aether.testing import NatsCluster

LEAVE_S = 50.0
"""A lame duck hangs up on its own after a grace of 60 s, in the cluster that tests share; by then it was left."""


async def test_a_server_that_goes_is_stayed_with_where_no_other_is_known(nats_server: EmbeddedServer, namespace: str) -> None:
    """A lame duck is used until it hangs up where there is no other server, and calls go on with whoever comes after."""
    async with tapped(nats_server, namespace) as (tap, store):
        lane = tap.lane
        lane.inject(b'INFO {"version": "2.15.1", "max_payload": 1048576, "ldm": true}\r\n')
        await until(lambda: store._connection._carrier.transport.info.ldm)
        assert (await store.append("a", NewEvent("t"))).version == 2
        assert tap.lane is lane
        lane.cut()
        assert (await store.append("a", NewEvent("t"))).version == 3


async def test_a_server_that_goes_is_left_and_what_is_in_flight_ends_there(nats_server: EmbeddedServer, namespace: str) -> None:
    """Told of other servers, new calls go out on a lane elsewhere at once, and the answer that is due still comes on the old."""
    async with Tap(nats_server.url) as first, Tap(nats_server.url) as second:
        taps = (first, second)
        async with JetStreamEventStore(f"{first.url},{second.url}", namespace=namespace, timeout_s=30) as store:
            await store.append("a", NewEvent("t"))
            (used,) = [tap for tap in taps if tap.lanes]
            other = second if used is first else first
            old, carrier = used.lane, store._connection._carrier.transport
            old.plan.mute = True
            due = asyncio.ensure_future(store.append("b", NewEvent("t")))
            await until(lambda: carrier._takers)
            used.plan = lambda: Plan(cut_down_at=0)  # it takes no new connections
            old.inject(b'INFO {"version": "2.15.1", "max_payload": 1048576, "ldm": true}\r\n')
            await until(lambda: not carrier.is_open())
            assert (await store.append("a", NewEvent("t"))).version == 2
            assert other.lanes
            for _ in range(20):
                assert await store.get_latest_version("a") == 2
            assert not due.done()
            old.plan.mute = False
            assert (await due).version == 1
            await until(lambda: old not in used.links)
    assert sorted(message.versions for message in await dump(nats_server.url, namespace)) == [[1], [1], [2]]


@pytest.mark.timeout(600)
async def test_servers_of_a_cluster_that_go_one_after_another_cost_no_call(
    nats_cluster: NatsCluster, namespace: str, size: Size
) -> None:
    """Nodes in lame duck mode under ten writers: every append is acked and stored once, and no connection stays with them."""
    history, stop = History(), False
    urls = ",".join(nats_cluster.urls)
    stores = [JetStreamEventStore(urls, namespace=namespace, replicas=3, timeout_s=30) for _ in range(5)]

    async def writer(number: int) -> None:
        store, count = stores[number % 5], 0
        while not stop:
            new = NewEvent("t", count, id=f"{number}-{count}")
            await history.write(f"a-{number}", new.id, 0, store.append(f"a-{number}", new))
            if count % 10 == 0:
                await history.read(f"a-{number}", store.get_events(f"a-{number}"))
            count += 1

    def elsewhere(port: int) -> bool:
        """Whether every store is connected, and none to this port, with its client or its lane."""
        places = [(store._connection.client.connected_url, store._connection._carrier.transport) for store in stores]
        return all(url and url.port != port and carrier and carrier.server.url.port != port for url, carrier in places)

    work = [asyncio.ensure_future(writer(number)) for number in range(10)]
    for node in range(size.pick(1, 3, 3)):
        seen = len(history.told("acked"))
        await until(lambda seen=seen: len(history.told("acked")) >= seen + 100, limit_s=60)
        server = nats_cluster.servers[node]
        os.kill(server.pid, signal.SIGUSR2)
        await until(lambda server=server: elsewhere(server.port), LEAVE_S)
        seen = len(history.told("acked"))
        await until(lambda seen=seen: len(history.told("acked")) >= seen + 100, limit_s=60)
        await nats_cluster.kill(node)
        await nats_cluster.restart(node)
    stop = True
    await asyncio.gather(*work)
    await asyncio.gather(*(store.aclose() for store in stores))
    assert {write.told for write in history.writes} == {"acked"}
    assert violations(history, await dump(nats_cluster.urls, namespace), contiguous=True) == []
