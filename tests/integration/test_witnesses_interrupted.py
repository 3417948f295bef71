"""What witnesses tell of interruptions: servers that go and come, and routes that break, stall, or break in part."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from faults.routes import close, links, stall, two_servers_apart
from faults.waiting import until
from feeding import Listener, due, events_of, publish, transport_to
from witnessing import EVENTS, witnesses

from aether import ServersUnreachableError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from faults.tap import Tap

    from aether.nats.transport import Transport
    from aether.testing import NatsCluster


@asynccontextmanager
async def at_two_servers() -> AsyncIterator[tuple[Transport, Transport, tuple[Tap, Tap]]]:
    """Connect to each of two servers that know of one another, and whose route leads through taps."""
    async with (
        two_servers_apart() as (own, other, taps),
        transport_to(own.url) as transport,
        transport_to(other.url) as publisher,
    ):
        await until(lambda: len(transport.info.connect_urls) == 2)
        yield transport, publisher, taps


async def test_a_server_that_goes_and_comes_interrupts_each_time(nats_cluster: NatsCluster, namespace: str) -> None:
    """A killed server is told of once, and its return once more; each is over with the next proof, and then nothing is missed."""
    gone = nats_cluster.servers[2]
    async with transport_to(nats_cluster.urls[0]) as transport, witnesses() as (proof, told):
        listener = Listener(namespace)
        await listener.listen(transport)
        await proof.prove(transport, due())
        await nats_cluster.kill(2)
        await until(lambda: told)
        await until(lambda: len(transport.info.connect_urls) == 2)
        assert len(told) == 1
        assert gone.url in told[0] or gone.url.removeprefix("nats://") in told[0]
        await proof.prove(transport, due())
        await nats_cluster.restart(2)
        await until(lambda: len(told) == 2)
        assert gone.url.removeprefix("nats://") in told[1]
        await proof.prove(transport, due())
        async with transport_to(gone.url) as publisher:
            await publish(publisher, namespace, events_of("a", EVENTS))
            assert len(await listener.heard(EVENTS)) == EVENTS
        assert len(told) == 2
        assert listener.lost == []


async def test_a_route_that_breaks_interrupts_though_both_servers_live(namespace: str) -> None:
    """What is published beyond a broken route does not come: its break is told, and its mending, and then nothing is missed."""
    async with at_two_servers() as (transport, publisher, taps), witnesses() as (proof, told):
        listener = Listener(namespace)
        await listener.listen(transport)
        await proof.prove(transport, due())
        close(taps, closed=True)
        for link in links(taps):
            link.cut()
        await until(lambda: told)
        await until(lambda: len(transport.info.connect_urls) == 1)
        await proof.prove(transport, due())
        await publish(publisher, namespace, events_of("lost", EVENTS))
        assert len(told) == 1
        close(taps, closed=False)
        await until(lambda: len(told) == 2)
        await proof.prove(transport, due())
        await publish(publisher, namespace, events_of("heard", EVENTS))
        assert [event.actor_id for event in await listener.heard(EVENTS)] == ["heard"] * EVENTS
        assert len(told) == 2


async def test_foreign_messages_where_beats_come_are_let_be(nats_cluster: NatsCluster, caplog: pytest.LogCaptureFixture) -> None:
    """What somebody else publishes there harms nothing, interrupts nobody, and is logged."""
    caplog.set_level("INFO", "aether.nats")
    async with transport_to(nats_cluster.urls[0]) as transport, witnesses() as (proof, told):
        await proof.prove(transport, due())
        foreign = [b"", b"junk", b"1", b"-1 -1", "٣ ٣".encode(), b"9 9", b"1 " + b"9" * 10_000, b"\xff" * 100]
        for body in foreign:
            await transport.publish_reply(proof._beats._subject, body, due())
        await transport.flush(due())
        await until(lambda: len([record for record in caplog.records if "foreign" in record.message]) == len(foreign) - 1)
        assert transport.is_open()
        assert told == []


@pytest.mark.timeout(120)
async def test_a_route_that_stalls_is_told(namespace: str) -> None:
    """A route through which nothing comes any more, though nothing is lost yet, is told, and proven again when it goes on."""
    async with two_servers_apart() as (own, other, taps), transport_to(own.url) as transport:
        await until(lambda: len(transport.info.connect_urls) == 2)
        async with witnesses() as (proof, told), transport_to(other.url) as publisher:
            listener = Listener(namespace)
            await listener.listen(transport)
            await proof.prove(transport, due())
            stall(taps, stalled=True)
            await until(lambda: told)
            assert "nothing came from there" in told[0]
            with pytest.raises(ServersUnreachableError):
                await proof.prove(transport, due(1))
            stall(taps, stalled=False)
            await proof.prove(transport, due())
            await publish(publisher, namespace, events_of("a", EVENTS))
            assert len(await listener.heard(EVENTS)) == EVENTS
            assert len(told) == 1


@pytest.mark.timeout(120)
async def test_a_part_of_a_route_that_breaks_interrupts_where_events_are_lost(namespace: str) -> None:
    """A route has several connections, and INFO does not say when one breaks: where events are lost with it, that is told."""
    async with at_two_servers() as (transport, publisher, taps), witnesses() as (proof, told):
        listener, lost = Listener(namespace), 0
        await listener.listen(transport)
        await proof.prove(transport, due())
        (pulse,) = proof._beats._pulses.values()
        all_links = links(taps)
        for link in all_links:  # those of the beginning, each once: which place a new one takes depends on who dials it
            close(taps, closed=True)
            link.cut()
            before = pulse.sent
            await until(lambda before=before: pulse.sent >= before + 2)
            await publish(publisher, namespace, events_of("a", EVENTS))
            close(taps, closed=False)
            await until(lambda: len(links(taps)) == len(all_links))
            beat = pulse.sent
            await until(lambda beat=beat: pulse.heard > beat)
            assert len(transport.info.connect_urls) == 2
            missing = EVENTS - len(listener.taken())
            assert len(told) == bool(missing)
            lost += missing
            await proof.prove(transport, due())
            told.clear()
        assert lost, "no connection of the route carries our events"
