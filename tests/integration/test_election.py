"""The election of a leader, from within one process: its interface, and what befalls connections and servers."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import nats
import pytest
from faults.proxy import Proxy
from faults.waiting import until

import aether
from aether import DeadlineError, InvalidIdError, Leader, LeaderElection, NotLeaderError, sync
from aether.nats.subjects import coordination_stream, election_subject
from aether.testing.servers import running_server

if TYPE_CHECKING:
    from aether.nats.coordination import Entry


LIMIT_S = 60.0
"""What must happen at all may take this long, on a machine that is busy with other things."""

TTL_S, SOON_S = 120.0, 40.0
"""How long leases live that are not to expire, and how long what must not wait for that may take."""


def election(url: str, namespace: str, candidate: str, *, ttl: float = TTL_S, **options: object) -> LeaderElection:
    """Make a candidate of the group that all tests use."""
    return LeaderElection(url, group="billing", namespace=namespace, candidate=candidate, ttl=ttl, **options)


async def test_a_term_has_a_number_and_is_valid_until_the_block_ends(nats_server, namespace):
    """Within the block the term is valid and others see who leads; behind it it is over, and `check` says who leads now."""
    async with election(nats_server.url, namespace, "a") as one, election(nats_server.url, namespace, "b") as other:
        assert one.leader is None
        async with one.leadership() as term:
            assert term.number > 0
            assert term.valid
            assert not term.lost.is_set()
            term.check()
            await until(lambda: other.leader == Leader("a", term.number))
            waiting = asyncio.create_task(other.leadership().__aenter__())
        assert not term.valid
        assert term.lost.is_set()
        following = await asyncio.wait_for(waiting, SOON_S)
        assert following.number > term.number
        await until(lambda: one.leader == Leader("b", following.number))
        with pytest.raises(NotLeaderError) as caught:
            term.check()
        assert caught.value.leader == "b"
        await following.__aexit__(None, None, None)
        await until(lambda: one.leader is None)


async def test_only_the_coordination_stream_is_made(nats_server, namespace):
    """An election makes no stream for events."""
    async with election(nats_server.url, namespace, "a") as one:
        names = [info.config.name for info in await one._connection.client.jetstream().streams_info()]
        assert [name for name in names if name.endswith(f"-{namespace}")] == [coordination_stream(namespace)]


async def test_a_candidate_hears_of_its_own_group_only(nats_server, namespace):
    """What other groups of the namespace do is not sent to a candidate, however often they renew."""
    async with (
        election(nats_server.url, namespace, "a") as one,
        LeaderElection(nats_server.url, group="other", namespace=namespace, candidate="x", ttl=3) as other,
        one.leadership(),
        other.leadership() as term,
    ):
        heard: list[str] = []
        one._watch.listen(Hearing(heard))
        other._watch.listen(Hearing(heard))
        await until(lambda: heard.count(other._subject) >= 3)  # renewals
        assert term.valid
        assert set(heard) == {other._subject}
        assert one._watch.entries.keys() == {one._subject}


class Hearing:
    """Notes on which subjects something came."""

    def __init__(self, heard: list[str]) -> None:
        self.heard = heard

    def on_entry(self, entry: Entry) -> None:
        """Note it."""
        self.heard.append(entry.subject)

    def on_synced(self) -> None:
        """Of no interest."""

    def on_broken(self, reason: str) -> None:
        """Of no interest."""


async def test_changes_are_told_from_the_first_on(nats_server, namespace):
    """`changes` yields who leads now, then whoever leads next, and ends with the election."""
    seen: list[Leader | None] = []

    async def look(watcher: LeaderElection) -> None:
        async for leader in watcher.changes():
            seen.append(leader)  # noqa: PERF401 - the test looks at what came so far

    async with election(nats_server.url, namespace, "a") as one:
        watcher = election(nats_server.url, namespace, "b")
        stream = watcher.changes()
        assert await anext(stream) is None
        async with one.leadership() as term:
            assert await anext(stream) == Leader("a", term.number)
        assert await anext(stream) is None
        looking = asyncio.create_task(look(watcher))
        await until(lambda: seen)
        await stream.aclose()
        await watcher.aclose()
        await asyncio.wait_for(looking, LIMIT_S)
        assert seen == [None]


async def test_waiting_ends_with_its_time(nats_server, namespace):
    """Who may not wait for ever gets a DeadlineError, or its own time-out, and bids no more."""
    async with election(nats_server.url, namespace, "a") as one, election(nats_server.url, namespace, "b") as other:
        async with one.leadership():
            with pytest.raises(DeadlineError, match="waiting to lead 'billing'"):
                await other.leadership(timeout_s=0.2).__aenter__()
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(other.leadership().__aenter__(), 0.2)
        async with one.leadership(timeout_s=LIMIT_S) as term:
            assert term.valid


async def test_one_block_at_a_time(nats_server, namespace):
    """A second block of the same election is refused while the first is held, and a block is entered once."""
    async with election(nats_server.url, namespace, "a") as one:
        async with one.leadership() as term:
            with pytest.raises(aether.AetherError, match="leads already"):
                await one.leadership().__aenter__()
            assert term.valid
        with pytest.raises(aether.AetherError, match="for another"):
            await term.__aenter__()


async def test_closing_gives_leadership_back(nats_server, namespace):
    """An election that is closed within its block hands over at once, and its term is over."""
    one = election(nats_server.url, namespace, "a")
    term = await one.leadership().__aenter__()
    async with election(nats_server.url, namespace, "b") as other:
        waiting = asyncio.create_task(other.leadership().__aenter__())
        await until(lambda: other.leader == Leader("a", term.number))
        await one.aclose()
        assert not term.valid
        assert term.lost.is_set()
        assert (await asyncio.wait_for(waiting, SOON_S)).number > term.number
    with pytest.raises(aether.AetherError, match="was closed"):
        await one.leadership().__aenter__()


async def test_a_waiting_candidate_that_is_closed_is_told(nats_server, namespace):
    """Who waits for leadership while its election is closed gets an error, and does not wait for ever."""
    async with election(nats_server.url, namespace, "a") as one, one.leadership():
        other = election(nats_server.url, namespace, "b")
        waiting = asyncio.create_task(other.leadership().__aenter__())
        await until(lambda: other.leader is not None)
        await other.aclose()
        with pytest.raises(aether.AetherError, match="was closed"):
            await asyncio.wait_for(waiting, SOON_S)


async def test_a_borrowed_client_stays_open(nats_server, namespace):
    """An election over a connected client works alike, and leaves it connected."""
    client = await nats.connect(nats_server.url)
    async with LeaderElection(client, group="g", namespace=namespace, ttl=TTL_S) as one, one.leadership() as term:
        assert term.valid
    assert client.is_connected
    await client.close()


async def test_a_connection_that_is_cut_keeps_its_term(nats_server, namespace):
    """Cut or reset again and again, a leader reconnects and renews within its time to live: nobody notices."""
    async with (
        Proxy(nats_server.url) as proxy,
        election(proxy.url, namespace, "a") as one,
        election(nats_server.url, namespace, "b") as other,
        one.leadership() as term,
    ):
        waiting = asyncio.create_task(other.leadership().__aenter__())
        for cut in (proxy.cut, proxy.reset) * 3:
            position = one._keeper.position
            cut()
            one._keeper.update({})
            await until(lambda position=position: one._keeper.position > position)
        assert term.valid
        assert not waiting.done()
        waiting.cancel()


async def test_a_half_open_connection_costs_the_term_in_time(nats_server, namespace):
    """A leader whose connection says nothing any more has lost by its own clock before another leads."""
    async with (
        Proxy(nats_server.url) as proxy,
        election(proxy.url, namespace, "a", ttl=2) as one,
        election(nats_server.url, namespace, "b", ttl=2) as other,
    ):
        term = await one.leadership().__aenter__()

        async def follow():
            return await other.leadership(timeout_s=LIMIT_S).__aenter__(), term.valid

        waiting = asyncio.create_task(follow())
        await until(lambda: other.leader == Leader("a", term.number))
        proxy.silent = True
        assert await term.lost.wait(LIMIT_S)
        following, is_valid = await waiting
        assert not is_valid
        proxy.silent = False
        with pytest.raises(NotLeaderError):
            term.check()
        await until(lambda: one.leader == Leader("b", following.number))
        await following.__aexit__(None, None, None)


async def test_a_term_that_is_left_is_over_at_once_for_whoever_waits(nats_server, namespace):
    """Where giving leadership back gets no answer, and also where it is cancelled, whoever waits for the term's end is told."""
    async with Proxy(nats_server.url) as proxy, election(proxy.url, namespace, "a", ttl=20, timeout_s=20) as one:
        term = await one.leadership().__aenter__()
        waiting = asyncio.create_task(term.lost.wait())
        proxy.silent = True
        leaving = asyncio.create_task(term.__aexit__(None, None, None))
        await asyncio.wait_for(waiting, 10)  # which is half of what leaving may take
        assert not leaving.done()
        leaving.cancel()
        await asyncio.wait([leaving], timeout=LIMIT_S)
        assert leaving.cancelled()
        assert not term.valid
        proxy.silent = False
        async with one.leadership(timeout_s=LIMIT_S) as following:
            assert following.number > term.number


async def test_an_outage_moves_no_leadership(fresh_nats_server, namespace):
    """After an outage longer than the time to live the same candidate leads again, though others wait."""
    url = fresh_nats_server.url
    # Who waits gives the former leader a third of his own time to live, so that a busy machine makes no difference.
    async with election(url, namespace, "a", ttl=1) as one, election(url, namespace, "b") as other:
        term = await one.leadership().__aenter__()
        waiting = asyncio.create_task(other.leadership().__aenter__())
        await until(lambda: other.leader == Leader("a", term.number))
        await fresh_nats_server.kill()
        await term.lost.wait()
        await term.__aexit__(None, None, None)
        again = asyncio.create_task(one.leadership().__aenter__())
        await until(lambda: other._watch.unbroken_since is None)
        await fresh_nats_server.restart()
        assert (await asyncio.wait_for(again, LIMIT_S)).number > term.number
        assert not waiting.done()
        waiting.cancel()


async def test_servers_without_a_leader_move_no_leadership(nats_cluster, namespace):
    """When the server that leads the coordination stream is killed, the same candidate leads on, or again, though others wait."""
    url = ",".join(nats_cluster.urls)
    async with (
        election(url, namespace, "a", ttl=2, replicas=3, timeout_s=30) as one,
        election(url, namespace, "b", replicas=3, timeout_s=30) as other,
    ):
        term = await one.leadership().__aenter__()
        waiting = asyncio.create_task(other.leadership().__aenter__())
        await until(lambda: other.leader == Leader("a", term.number))
        await nats_cluster.kill(await nats_cluster.leader_of(coordination_stream(namespace)))
        if await term.lost.wait(6):
            await term.__aexit__(None, None, None)
            again = await one.leadership(timeout_s=LIMIT_S).__aenter__()
            assert again.number > term.number
            assert one.leader == Leader("a", again.number)
        assert not waiting.done()
        waiting.cancel()


async def test_a_foreign_message_on_the_subject_is_no_leader(nats_server, namespace, caplog):
    """What somebody else wrote on the subject is told loudly, ends the term, and blocks the group until it is gone."""
    async with election(nats_server.url, namespace, "a", ttl=2) as one:
        async with one.leadership() as term:
            subject = election_subject(namespace, "billing")
            await one._connection.client.jetstream().publish(subject, b"not ours", headers={"Nats-TTL": "2"})
            assert await term.lost.wait(LIMIT_S)
            assert one.leader is None
        async with one.leadership(timeout_s=LIMIT_S) as following:
            assert following.number > term.number
    assert "no body of a lease" in caplog.text


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"ttl": 1.5}, ValueError, "whole seconds"),
        ({"ttl": 0}, ValueError, "1 to 3,600"),
        ({"ttl": True}, TypeError, "ttl must be a number"),
        ({"ttl": float("nan")}, ValueError, "whole seconds"),
        ({"group": ""}, InvalidIdError, "group"),
        ({"group": "g" * 256}, InvalidIdError, "1 to 255"),
        ({"candidate": 7}, TypeError, "candidate"),
        ({"candidate": "\ud800"}, InvalidIdError, "UTF-8"),
        ({"namespace": "a.b"}, InvalidIdError, "namespace"),
        ({"replicas": 6}, ValueError, "replicas"),
        ({"timeout_s": 0}, ValueError, "timeout_s"),
    ],
)
def test_misuse_is_refused_at_once(arguments, error, words):
    """Arguments that cannot be are refused by the constructor, with what is allowed."""
    with pytest.raises(error, match=words):
        LeaderElection("nats://localhost", **{"group": "g", **arguments})


def test_without_await(nats_server, namespace):
    """The blocking face elects alike: terms, their end, who leads, and the time that waiting may take."""
    with (
        sync.LeaderElection(nats_server.url, group="g", namespace=namespace, candidate="a", ttl=TTL_S) as one,
        sync.LeaderElection(nats_server.url, group="g", namespace=namespace, candidate="b", ttl=TTL_S) as other,
    ):
        with one.leadership() as term:
            assert term.valid
            assert not term.lost.wait(0.05)
            assert next(one.changes()) == Leader("a", term.number)
            with pytest.raises(DeadlineError):
                other.leadership(timeout_s=0.1).__enter__()
        assert term.lost.wait(LIMIT_S)
        with pytest.raises(NotLeaderError):
            term.check()
        with other.leadership(timeout_s=LIMIT_S) as following:
            assert following.number > term.number


NEEDED = [
    "aether-coord.shop.>",
    *(f"$JS.API.STREAM.{call}.AETHER-COORD-shop" for call in ("INFO", "CREATE", "MSG.GET")),
    *(f"$JS.API.CONSUMER.{call}.AETHER-COORD-shop.>" for call in ("CREATE", "DELETE")),
    "$JS.API.STREAM.INFO.AETHER-EVENTS-shop",
]


@asynccontextmanager
async def restricted(publish: list[str]):
    """Run a server whose user may publish to these subjects only; give its URL."""
    user = {"user": "shop", "password": "secret", "permissions": {"publish": publish, "subscribe": ["_INBOX.>"]}}
    with running_server({"authorization": {"users": [user]}}) as server:
        yield server.url.replace("nats://", "nats://shop:secret@")


async def test_few_permissions_are_enough():
    """A user who may do what the guide names can elect, and nothing is denied on the way."""
    async with restricted(NEEDED) as url, election(url, "shop", "a") as one:
        async with one.leadership(timeout_s=LIMIT_S) as term:
            assert term.valid
        assert one._connection.denied_since(0.0) is None


@pytest.mark.parametrize(("lacking", "opens"), [("aether-coord.shop.>", True), (NEEDED[4], False), (NEEDED[1], False)])
async def test_what_is_denied_is_told(lacking, opens):
    """Who may not write leases, watch them or open their stream gets AccessDeniedError, and does not wait for ever."""
    async with restricted([subject for subject in NEEDED if subject != lacking]) as url:
        one = election(url, "shop", "a")
        async with asyncio.timeout(LIMIT_S):
            if opens:
                await one.__aenter__()
            with pytest.raises(aether.AccessDeniedError):
                await one.leadership().__aenter__()
        await one.aclose()
