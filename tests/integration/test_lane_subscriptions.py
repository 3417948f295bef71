"""Feeds and what is published to them, on every transport: what arrives, what ends them, and what their end leaves behind."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import nats
import pytest
from faults.tap import Plan, Tap
from faults.waiting import until
from feeding import KINDS, Listener, connected, due, events_of, publish, subscriptions, transport_to, url_of

from aether import CommitTooLargeError, Event
from aether._native import bus_body, bus_subject, decode_reply, encode_reply
from aether.nats.errors import NoRespondersError, UnansweredError
from aether.nats.lane_socket import HIGH_WATER
from aether.nats.portable import NatsPyTransport
from aether.nats.transport import PUBLISH_BYTES_MAX
from aether.testing.servers import free_ports, running_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from conftest import Size

    from aether import EmbeddedServer
    from aether.nats.transport import Transport

# nats-py's call of aiohttp is of an old form; nothing here can change that.
pytestmark = pytest.mark.filterwarnings("ignore:parameter 'timeout' of type 'float' is deprecated:DeprecationWarning")


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedServer]:
    """A server with a WebSocket port too, that takes no large messages."""
    with running_server(
        {"max_payload": 65_536, "websocket": {"listen": f"127.0.0.1:{free_ports(1)[0]}", "no_tls": True}}
    ) as server:
        yield server


@pytest.fixture(params=KINDS)
async def transport(request: pytest.FixtureRequest, server: EmbeddedServer) -> AsyncIterator[Transport]:
    """A transport of each kind."""
    async with transport_to(url_of(server, request.param), request.param) as transport:
        yield transport


@pytest.fixture
async def other(server: EmbeddedServer) -> AsyncIterator[Transport]:
    """Somebody else's transport."""
    async with transport_to(server.url) as transport:
        yield transport


async def test_events_come_in_order_and_tell_that_they_came(transport: Transport, other: Transport, namespace: str) -> None:
    """What two publishers publish arrives whole, each one's in its order, and the feed tells that there is something."""
    listener = Listener(namespace)
    feed = await listener.listen(transport)
    await transport.flush(due())
    mine, theirs = events_of("mine", 5_000), events_of("theirs", 5_000)
    await asyncio.gather(publish(transport, namespace, mine), publish(other, namespace, theirs))
    heard = await listener.heard(10_000)
    assert [event for event in heard if event.actor_id == "mine"] == mine
    assert [event for event in heard if event.actor_id == "theirs"] == theirs
    assert listener.woken
    assert listener.lost == []
    await feed.aclose()


async def test_a_group_shares_and_everybody_else_hears_all(transport: Transport, other: Transport, namespace: str) -> None:
    """Each event goes to one feed of a group, and to every feed that is in none."""
    alone, first, second = (Listener(namespace) for _ in range(3))
    await alone.listen(transport)
    await first.listen(transport, queue="workers")
    await second.listen(other, queue="workers")
    await asyncio.gather(transport.flush(due()), other.flush(due()))
    await publish(other, namespace, events_of("a", 400))
    assert len(await alone.heard(400)) == 400
    shared = [[], []]
    await until(
        lambda: (
            [part.extend(who.taken()) for part, who in zip(shared, (first, second), strict=True)] and sum(map(len, shared)) == 400
        )
    )
    assert all(shared)
    assert {event.version for part in shared for event in part} == set(range(1, 401))


@pytest.mark.parametrize("kind", KINDS)
async def test_a_member_that_leaves_has_taken_all_that_was_given_to_it(
    kind: str, server: EmbeddedServer, other: Transport, namespace: str
) -> None:
    """Of a group whose members come and go while events are published, each event is in one of their mailboxes."""
    count = 20_000
    async with transport_to(url_of(server, kind), kind) as transport:
        stays = Listener(namespace)
        await stays.listen(transport, queue="g")
        await transport.flush(due())
        publishing = asyncio.create_task(publish(other, namespace, events_of("p", count)))
        heard: list[Event] = []
        while not publishing.done():
            member = Listener(namespace)
            feed = await member.listen(transport, queue="g")
            await asyncio.sleep(0)
            await feed.leave(due())
            heard += member.taken()
        await publishing
        heard += await stays.heard(count - len(heard))
        assert sorted(event.version for event in heard) == [*range(1, count + 1)]


@pytest.mark.parametrize("kind", KINDS)
async def test_after_a_flush_nothing_that_others_publish_is_missed(
    kind: str, server: EmbeddedServer, other: Transport, namespace: str, size: Size
) -> None:
    """Subscribe, flush, and what another connection publishes at once all arrives, again and again."""
    async with transport_to(url_of(server, kind), kind) as transport:
        for turn in range(size.pick(500 if kind == "lane" else 100, 500, 2_000)):
            listener, events = Listener(f"{namespace}-{turn}"), events_of("a", 10)
            feed = await listener.listen(transport)
            await transport.flush(due())
            await publish(other, listener.namespace, events)
            assert await listener.heard(10) == events
            await feed.aclose()


async def test_a_closed_feed_leaves_nothing_behind(
    transport: Transport, other: Transport, server: EmbeddedServer, namespace: str
) -> None:
    """Closed, also twice, the server has the subscription no more, and nothing comes."""
    listener = Listener(namespace)
    feed = await listener.listen(transport)
    await transport.flush(due())
    assert subscriptions(server, f"aether-bus.{namespace}.")
    await feed.aclose()
    await feed.aclose()
    await transport.flush(due())
    assert not subscriptions(server, f"aether-bus.{namespace}.")
    await publish(other, namespace, events_of("a", 3))
    await transport.flush(due())
    assert listener.taken() == []
    assert listener.lost == []


async def test_an_event_too_large_is_refused_alone(transport: Transport, namespace: str) -> None:
    """Events before one that the server would not take go out; the next call refuses it by name, and then others go out."""
    listener = Listener(namespace)
    await listener.listen(transport)
    small = events_of("small", 2)
    events = [small[0], Event("large", "t", 1, b"x" * 65_536), small[1]]
    assert await transport.publish_events(namespace, events, 0, due()) == 1
    with pytest.raises(CommitTooLargeError, match="large"):
        await transport.publish_events(namespace, events, 1, due())
    assert await transport.publish_events(namespace, events, 2, due()) == 3
    assert await listener.heard(2) == small


async def test_a_request_is_answered(transport: Transport, other: Transport, namespace: str) -> None:
    """A request to an event's subject reaches a feed with its reply subject, and a reply reaches whoever asked."""
    listener, (event,) = Listener(namespace), events_of("a", 1)
    await listener.listen(other)
    await other.flush(due())
    asked = asyncio.ensure_future(transport.request(bus_subject(namespace, event), bus_body(event), due()))
    requests: list[tuple[Event, str | None]] = []
    await until(lambda: requests.extend(listener.mailbox.take_requests(10)) or requests)
    ((heard, reply),) = requests
    assert heard == event
    assert reply is not None
    await other.publish_reply(reply, encode_reply(b"\xa2ok"), due())
    assert decode_reply((await asked).data) == ("ok", None)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_server_that_restarts_ends_feeds_and_others_begin(kind: str) -> None:
    """A restart ends each feed once; begun again on the next connection, everything that is published comes, and once."""
    listen = {"websocket": {"listen": f"127.0.0.1:{free_ports(1)[0]}", "no_tls": True}}
    with running_server(listen) as server:
        async with connected(url_of(server, kind), kind) as connection, connected(server.url) as other:
            listener = Listener("ns")
            for turn in range(3):
                transport = await connection.ready(due())
                feed = await listener.listen(transport)
                await transport.flush(due())
                await publish(await other.ready(due()), "ns", events_of(f"a-{turn}", 100))
                assert len(await listener.heard(100)) == 100
                await server.restart()
                await until(lambda turn=turn: len(listener.lost) == turn + 1)
                assert isinstance(listener.lost[-1], UnansweredError)
                await feed.aclose()
            await (await connection.ready(due())).flush(due())
            assert listener.taken() == []
            assert not subscriptions(server, "aether-bus.")
            assert len(listener.lost) == 3


@pytest.mark.parametrize("at", range(0, 60, 7))
async def test_a_loss_while_subscribing_is_told(at: int, server: EmbeddedServer, namespace: str) -> None:
    """Wherever the connection breaks on the way to the server, the feed is lost, and the flush says so."""
    async with Tap(server.url) as tap, transport_to(tap.url) as transport:
        tap.lane.plan.cut_up_at = tap.lane.sent_up + at + 1
        listener = Listener(namespace)
        await listener.listen(transport)
        with pytest.raises(UnansweredError):
            await transport.flush(due())
        (reason,) = listener.lost
        assert isinstance(reason, UnansweredError)
        with pytest.raises(NoRespondersError):
            await listener.listen(transport)
        with pytest.raises(NoRespondersError):
            await transport.publish_events(namespace, events_of("a", 1), 0, due())
        with pytest.raises(UnansweredError):
            await transport.flush(due())


async def test_a_borrowed_client_that_was_away_unnoticed_ends_feeds(server: EmbeddedServer, namespace: str) -> None:
    """nats-py reconnects by itself without a word; the feed ends all the same, and what it hears later does not count."""
    async with Tap(server.url) as tap, transport_to(server.url) as other:
        client = await nats.connect(tap.url, max_reconnect_attempts=-1, reconnect_time_wait=0.01)
        transport, listener = await NatsPyTransport.open(client), Listener(namespace)
        await listener.listen(transport)
        for link in tap.links:
            link.cut()
        await until(lambda: listener.lost)
        await until(lambda: client.is_connected)
        await transport.flush(due())
        await publish(other, namespace, events_of("a", 3))
        await transport.flush(due())
        assert listener.taken() == []
        assert len(listener.lost) == 1
        await client.close()


async def test_a_server_that_goes_ends_feeds_at_once_and_doubles_nothing(server: EmbeddedServer, namespace: str) -> None:
    """A lame duck's feeds are lost before it hangs up, and given back: begun again elsewhere, each event comes once."""
    async with Tap(server.url) as first, Tap(server.url) as second:
        both = f"{first.url},{second.url}"
        async with connected(both, timeout_s=30) as connection, transport_to(server.url) as other:
            old, listener = await connection.ready(due()), Listener(namespace)
            await listener.listen(old)
            await old.flush(due())
            (used,) = [tap for tap in (first, second) if tap.lanes]
            used.plan = lambda: Plan(cut_down_at=0)  # it takes no new connections
            used.lane.inject(b'INFO {"version": "2.15.1", "max_payload": 1048576, "ldm": true}\r\n')
            await until(lambda: listener.lost)
            new = await connection.ready(due())
            assert new is not old
            await listener.listen(new)
            await new.flush(due())
            await until(lambda: len(subscriptions(server, f"aether-bus.{namespace}.")) == 1)
            await publish(other, namespace, events_of("a", 100))
            assert len(await listener.heard(100)) == 100
            await new.flush(due())
            assert listener.taken() == []
            assert len(listener.lost) == 1


async def test_a_server_that_goes_keeps_its_feeds_where_there_is_no_other(server: EmbeddedServer, namespace: str) -> None:
    """Where no other server is known a lame duck's feeds go on until it hangs up."""
    async with Tap(server.url) as tap, transport_to(tap.url) as transport, transport_to(server.url) as other:
        listener = Listener(namespace)
        await listener.listen(transport)
        tap.lane.inject(b'INFO {"version": "2.15.1", "max_payload": 1048576, "ldm": true}\r\n')
        await until(lambda: transport.info.ldm)
        await transport.flush(due())
        await publish(other, namespace, events_of("a", 10))
        assert len(await listener.heard(10)) == 10
        tap.lane.cut()
        await until(lambda: listener.lost)


@pytest.mark.parametrize("kind", ["lane", "borrowed"])
async def test_a_server_that_takes_nothing_holds_the_publisher_until_its_deadline(
    kind: str, server: EmbeddedServer, namespace: str
) -> None:
    """A publisher of 10^6 events waits while the server takes none, with bounded memory, until the deadline, and can go on."""
    events, listener, most = events_of("a", 1_000), Listener(namespace), 0

    async def send(sent: int, until_sent: int, deadline: float) -> int:
        nonlocal most
        while sent < until_sent:
            sent += await transport.publish_events(namespace, events[sent % 1_000 :], 0, deadline)
            most = max(most, waiting_bytes(transport))
            counts.append(sent)
        return sent

    async with Tap(server.url) as tap, transport_to(tap.url, kind) as transport, transport_to(server.url) as other:
        await listener.listen(other)
        await other.flush(due())
        link, counts = tap.lane if kind == "lane" else tap.links[0], [0]
        link.plan.stalled, deadline = True, due(1.5)
        with pytest.raises(NoRespondersError, match="takes no more bytes"):
            await send(0, 1_000_000, deadline)
        assert asyncio.get_running_loop().time() >= deadline
        assert most <= HIGH_WATER + PUBLISH_BYTES_MAX
        link.plan.stalled = False
        sent = await send(counts[-1], counts[-1] + 2_000, due(60))
        await transport.flush(due(60))
        heard = await listener.heard(sent, 60)
        assert [event.version for event in heard] == [at % 1_000 + 1 for at in range(sent)]


def waiting_bytes(transport: Any) -> int:
    """How many bytes wait in this process."""
    if transport.name == "lane":
        return transport._transport.get_write_buffer_size()
    client = transport._client
    return client.pending_data_size + client._transport._io_writer.transport.get_write_buffer_size()
