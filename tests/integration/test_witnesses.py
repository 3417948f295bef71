"""Subscriptions proven on every server of a cluster: nothing is missed, and what cannot be proven is named."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

import nats
import pytest
from certificates import Authority, server_tls
from faults.routes import close, links, stall, two_servers_apart
from faults.stopping import stopped
from faults.tap import Tap
from faults.waiting import until
from feeding import Listener, due, events_of, publish, transport_to

from aether import AccessDeniedError, ConnectOptions, EmbeddedServer, NATSEventBus, ServersUnreachableError
from aether._native import Tally
from aether.nats.errors import UnansweredError
from aether.nats.portable import NatsPyTransport
from aether.nats.witnesses import Witnesses
from aether.testing.servers import running_cluster

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from conftest import Size

    from aether.nats.transport import Transport
    from aether.testing import NatsCluster

# nats-py's call of aiohttp is of an old form; nothing here can change that.
pytestmark = pytest.mark.filterwarnings("ignore:parameter 'timeout' of type 'float' is deprecated:DeprecationWarning")

EVENTS = 20
"""How many events each publisher publishes at once."""


@asynccontextmanager
async def witnesses(options: ConnectOptions | None = None, timeout_s: float = 10.0) -> AsyncIterator[tuple[Witnesses, list[str]]]:
    """Witnesses, and what they told of interruptions."""
    told: list[str] = []
    made = Witnesses(timeout_s, told.append, options)
    try:
        yield made, told
    finally:
        await made.aclose()


class OwnServerOnly(Witnesses):
    """The bug that witnesses are for: the own server's word is taken for all."""

    async def prove(self, transport: Transport, deadline: float) -> None:
        """Return when the own server has it."""
        await transport.flush(deadline)


async def missed(transport: Transport, publishers: list[Transport], proof: Witnesses, name: str, turns: int) -> int:
    """Subscribe, prove, and let all publish at once, again and again; return how many events did not come."""
    missing = 0
    for turn in range(turns):
        listener, events = Listener(f"{name}-{turn}"), events_of("a", EVENTS)
        feed = await listener.listen(transport)
        await proof.prove(transport, due())
        await asyncio.gather(*(publish(publisher, listener.namespace, events) for publisher in publishers))
        # What is published after these on the same connections comes after them; so what is not there by then never comes.
        last = Listener(f"{name}-{turn}-end")
        await last.listen(transport)
        await until_heard(last, transport, publishers)
        heard = listener.taken()
        missing += len(publishers) * EVENTS - len(heard)
        if not missing:
            assert {event.version for event in heard} == set(range(1, EVENTS + 1))
        await feed.aclose()
    return missing


async def until_heard(last: Listener, transport: Transport, publishers: list[Transport]) -> None:
    """Wait until something that each publisher publishes now is heard."""
    heard: set[str] = set()
    async with asyncio.timeout(30):
        while len(heard) < len(publishers):
            for number, publisher in enumerate(publishers):
                await publish(publisher, last.namespace, events_of(f"{number}", 1))
            await transport.flush(due())
            heard |= {event.actor_id for event in last.taken()}


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


def names_instead(transport: Transport, url: str, *other: str) -> None:
    """Let the server of this transport seem to name other addresses in the place of one."""
    info = transport.info
    assert url.removeprefix("nats://") in info.connect_urls
    kept = [named for named in info.connect_urls if named != url.removeprefix("nats://")]
    info.connect_urls = [*kept, *(address.removeprefix("nats://") for address in other)]


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
        await proof.prove(transport, due(20))


async def test_a_server_that_is_killed_while_it_is_proven_is_no_longer_asked_for(nats_cluster: NatsCluster) -> None:
    """A proof that waits for a silent server ends well when that server is gone and is no longer named."""
    silent = nats_cluster.servers[1]
    async with transport_to(nats_cluster.urls[0]) as transport, witnesses() as (proof, _):
        async with stopped(silent.pid):
            proving = asyncio.ensure_future(proof.prove(transport, due(30)))
            await until(lambda: proof._of_url and not proving.done())
            await nats_cluster.kill(1)
        await proving
        assert silent.url.removeprefix("nats://") not in transport.info.connect_urls


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
    async with (
        two_servers_apart() as (own, other, taps),
        transport_to(own.url) as transport,
        transport_to(other.url) as publisher,
    ):
        await until(lambda: len(transport.info.connect_urls) == 2)
        async with witnesses() as (proof, told):
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
    async with (
        two_servers_apart() as (own, other, taps),
        transport_to(own.url) as transport,
        transport_to(other.url) as publisher,
    ):
        await until(lambda: len(transport.info.connect_urls) == 2)
        async with witnesses() as (proof, told):
            listener, lost = Listener(namespace), 0
            await listener.listen(transport)
            await proof.prove(transport, due())
            (pulse,) = proof._beats._pulses.values()
            all_links = len(links(taps))
            for _ in range(all_links):
                close(taps, closed=True)
                links(taps)[0].cut()
                before = pulse.sent
                await until(lambda before=before: pulse.sent >= before + 2)
                await publish(publisher, namespace, events_of("a", EVENTS))
                close(taps, closed=False)
                await until(lambda: len(links(taps)) == all_links)
                beat = pulse.sent
                await until(lambda beat=beat: pulse.heard > beat)
                assert len(transport.info.connect_urls) == 2
                missing = EVENTS - len(listener.taken())
                assert len(told) == bool(missing)
                lost += missing
                await proof.prove(transport, due())
                told.clear()
            assert lost, "no connection of the route carries our events"


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
        proving = asyncio.ensure_future(proof.prove(transport, due(30)))
        await until(lambda: transport._inboxes)
        tap.lane.cut()
        with pytest.raises(UnansweredError):
            await asyncio.wait_for(proving, 10)


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


# Who may not, and who cannot.

PERMISSIONS = {"publish": {"deny": ["_INBOX.>"]}}
USERS = {
    "authorization": {
        "users": [{"user": "all", "password": "p"}, {"user": "mute", "password": "p", "permissions": PERMISSIONS}],
    }
}


def _as(user: str) -> Callable[[str], str]:
    return lambda url: url.replace("nats://", f"nats://{user}:p@")


@pytest.fixture(scope="module")
def strict_cluster() -> Iterator[NatsCluster]:
    """A cluster that asks who one is, with WebSocket ports."""
    with running_cluster({**USERS, "websocket": {"port": -1, "host": "127.0.0.1", "no_tls": True}}) as cluster:
        yield cluster


async def test_witnesses_log_in_as_their_connection_does(strict_cluster: NatsCluster) -> None:
    """Credentials of the URL, or of the options, are the witnesses' too."""
    for url, options in (
        (_as("all")(strict_cluster.urls[0]), None),
        (strict_cluster.urls[0], ConnectOptions(user="all", password="p")),
    ):
        async with transport_to(url, options=options) as transport, witnesses() as (proof, told):
            await proof.prove(transport, due())
            assert len(proof._of_url) == 2
        assert told == []


async def test_witnesses_speak_tls_and_check_the_name_of_the_url(tmp_path: Path) -> None:
    """Servers that are named by their addresses must have the certificate of the URL's name; another one is no witness."""
    authority, stranger = Authority(tmp_path), Authority(tmp_path, "stranger")
    options = ConnectOptions(tls=authority.trusted())
    with running_cluster(server_tls(authority.issue("local", host="localhost"))) as cluster:
        url = f"tls://localhost:{cluster.servers[0].port}"
        async with transport_to(url, options=options) as transport, witnesses() as (proof, told):
            await proof.prove(transport, due())
            assert told == []
            for witness in proof._of_url.values():
                assert witness.lane is None or witness.lane._transport.get_extra_info("ssl_object") is not None
            assert [witness for witness in proof._of_url.values() if witness.lane is not None]
        client_options = ConnectOptions(tls=stranger.trusted())
        async with borrowed(url, authority) as transport, witnesses(client_options) as (proof, _):
            async with asyncio.timeout(20):
                with pytest.raises(ServersUnreachableError) as caught:
                    await proof.prove(transport, due(60))
            assert "certificate" in str(caught.value.__cause__)


@asynccontextmanager
async def borrowed(url: str, authority: Authority) -> AsyncIterator[Transport]:
    """The transport of a client over TLS that somebody else made."""
    client = await nats.connect(url, tls=authority.trusted())
    yield await NatsPyTransport.open(client)
    await client.close()


async def test_a_borrowed_client_needs_options_where_servers_ask_who_one_is(strict_cluster: NatsCluster) -> None:
    """Without options witnesses are refused soon, as unreachable, and the cause says why; with options they are let in."""
    async with transport_to(_as("all")(strict_cluster.urls[0]), "borrowed") as transport:
        async with asyncio.timeout(20), witnesses() as (proof, _):
            with pytest.raises(ServersUnreachableError, match=r"(?i)authorization violation.*options=") as caught:
                await proof.prove(transport, due(60))
            assert isinstance(caught.value.__cause__, AccessDeniedError)
        async with witnesses(ConnectOptions(user="all", password="p")) as (proof, told):
            for _ in range(3):
                await proof.prove(transport, due())
            assert told == []


async def test_a_witness_that_may_not_publish_to_an_inbox_says_so(strict_cluster: NatsCluster) -> None:
    """A user who may not publish to an inbox is told so soon: `AccessDeniedError`, with the subject."""
    async with transport_to(_as("mute")(strict_cluster.urls[0])) as transport, witnesses() as (proof, _):
        async with asyncio.timeout(20):
            with pytest.raises(AccessDeniedError, match=r'(?i)publish to "_inbox'):
                await proof.prove(transport, due(60))
        assert transport.is_open()


async def test_over_websocket_other_servers_are_out_of_reach(strict_cluster: NatsCluster) -> None:
    """Over WebSocket nobody can witness, so other servers that are named make it an error at once, whoever owns the client."""
    url = strict_cluster.servers[0].process.ports["websocket"][0].replace("ws://", "ws://all:p@")
    for kind in ("websocket", "borrowed"):
        async with transport_to(url, kind) as transport, witnesses() as (proof, _):
            with pytest.raises(ServersUnreachableError) as caught:
                await proof.prove(transport, due(60))
            assert len(caught.value.servers) == 2


async def test_an_address_of_several_servers_is_no_proof() -> None:
    """Where several servers give one address a proof is refused at once."""
    with running_cluster({"client_advertise": "127.0.0.1:9"}) as cluster:
        async with transport_to(cluster.urls[0]) as transport, witnesses() as (proof, _):
            with pytest.raises(ServersUnreachableError, match="address"):
                await proof.prove(transport, due(60))


async def test_servers_that_are_not_named_are_not_claimed(namespace: str, caplog: pytest.LogCaptureFixture) -> None:
    """Where the own server has a cluster and names nobody, as its first server does, a subscription says how far it is proven."""
    with running_cluster({"cluster": {"no_advertise": True}}) as cluster:
        async with NATSEventBus(cluster.urls[0], namespace=namespace) as bus, await bus.subscribe() as subscription:
            assert subscription.ready == "server"
            await bus.publish(*events_of("a", 1))
            assert (await anext(subscription)).actor_id == "a"
    assert [record.levelname for record in caplog.records if "names no other server" in record.getMessage()] == ["WARNING"]
