"""Rosters of a shards' owner: who is new is told without the server, and nobody is told to be new who is not."""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import nats
import pytest
from faults.dump import dump
from faults.epochs import epoch_violations
from lagging import MULTI, CarriedConnection
from owning import TIMEOUT_S, Lease, fenced_store, own, own_actor

from aether import IngestError, NewEvent, NotOwnerError
from aether._native import actor_subject, shard_of
from aether.store.fenced import FencedEventStore
from aether.store.rosters import ABSENT_MIN, Rosters

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable

    from aether import EmbeddedServer
    from aether.nats.transport import Reply, Transport
    from aether.testing import NatsCluster

SHARD = 7
NAMES = [name for name in (f"meter-{number}" for number in range(100_000)) if shard_of(name) == SHARD]
"""Actors of one shard."""

FIRST, LATER = NAMES[:ABSENT_MIN], NAMES[ABSENT_MIN : 2 * ABSENT_MIN]
NEXT = NAMES[2 * ABSENT_MIN]
"""Who is asked for when the shard is due to be listed."""


class Listener:
    """Carries what a transport carries, counts questions, and meddles with the answers to listings of subjects.

    Attributes:
        heads: how many questions for heads came.
        listings: how many for the subjects of a shard.
        after: awaited between an answer to such a one and its arrival, once.
        old: the answer that is given instead, as often as `stale` says.
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self.heads = self.listings = self.stale = 0
        self.after: Callable[[], Awaitable[object]] | None = None
        self.old: Reply | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    async def request_batch(self, subject: str, payload: bytes, deadline: float) -> list[Reply]:
        """Ask, and count."""
        self.heads += payload.startswith(MULTI)
        return await self._transport.request_batch(subject, payload, deadline)

    async def request(self, subject: str, payload: bytes, *arguments: Any) -> Reply:
        """Ask, and meddle."""
        if b"subjects_filter" not in payload:
            return await self._transport.request(subject, payload, *arguments)
        self.listings += 1
        if self.old is not None and self.stale:
            self.stale -= 1
            return self.old
        reply = await self._transport.request(subject, payload, *arguments)
        after, self.after = self.after, None
        if after is not None:
            await after()
        self.old = reply
        return reply


@asynccontextmanager
async def listening(url: str, namespace: str, **options: Any) -> AsyncIterator[tuple[FencedEventStore, Listener]]:
    """A store that owns the shard."""
    connection = CarriedConnection(url, TIMEOUT_S, Listener)
    store = FencedEventStore(connection, namespace, node="n1", valid=Lease(), owner_of=lambda _: None, **options)
    try:
        async with store:
            await own(store, [SHARD])
            assert connection.carrier is not None
            yield store, connection.carrier
    finally:
        await connection.aclose()


async def ingest(store: FencedEventStore, names: Iterable[str]) -> list[Any]:
    """Put an event of each actor; return why some failed."""
    failed: list[Any] = []
    try:
        async with store.ingest(on_failure=lambda _, error: failed.append(error)) as pipeline:
            await pipeline.put_many((name, NewEvent("t")) for name in names)
    except IngestError:
        assert failed
    return failed


async def list_shard(store: FencedEventStore) -> None:
    """Make the shard's roster, by enough actors that are not there and one more."""
    assert await ingest(store, FIRST) == []
    assert await ingest(store, [NEXT]) == []


async def versions(store: FencedEventStore, names: Iterable[str]) -> list[int]:
    """Return all versions that an actor has, of each."""
    return [event.version for name in names for event in await store.get_events(name)]


def has_roster(store: FencedEventStore) -> bool:
    """Whether the shard's roster is whole."""
    fence = store._fenced.fence(SHARD)
    return fence is not None and fence.mark.is_new("nobody")


async def test_new_actors_of_a_listed_shard_cost_no_question(nats_server: EmbeddedServer, namespace: str) -> None:
    """Once some actors were asked for in vain the shard is listed; first events then ask nothing, later ones ask for the head."""
    async with listening(nats_server.url, namespace, heads_max=1) as (store, listener):
        assert await ingest(store, FIRST) == []
        asked = listener.heads
        assert await ingest(store, [NEXT]) == []
        assert (listener.listings, has_roster(store)) == (1, True)
        assert await ingest(store, LATER) == []
        await store.append(NAMES[-1], NewEvent("t"))
        assert (listener.heads, listener.listings) == (asked, 1)
        assert await ingest(store, [*FIRST, NEXT, *LATER, NAMES[-1]]) == []
        assert listener.heads > asked, "the memory holds one head, and who is there is not new"
        for names in (FIRST, [NEXT], LATER, NAMES[-1:]):
            assert await versions(store, names) == [1, 2] * len(names)


async def test_rosters_hold_on_three_servers(nats_cluster: NatsCluster, namespace: str) -> None:
    """The owner is connected to a server that does not lead the stream, and its roster is exact while it writes on."""
    async with fenced_store(nats_cluster.urls[0], namespace, replicas=3):
        leader = await nats_cluster.leader_of(f"AETHER-EVENTS-{namespace}")
    url = next(url for number, url in enumerate(nats_cluster.urls) if number != leader)
    async with listening(url, namespace, heads_max=1, replicas=3) as (store, listener):
        assert await ingest(store, FIRST) == []
        await asyncio.gather(
            ingest(store, [NEXT, *LATER]), ingest(store, LATER), *(store.append(NEXT, NewEvent("t")) for _ in "ab")
        )
        assert has_roster(store)
        asked = listener.heads
        assert await ingest(store, NAMES[-ABSENT_MIN:]) == []
        assert listener.heads == asked
        assert await versions(store, [*FIRST, *NAMES[-ABSENT_MIN:]]) == [1] * 2 * ABSENT_MIN
        assert await versions(store, [NEXT]) == [1, 2, 3]
        assert await versions(store, LATER) == [1, 2] * len(LATER)
        assert epoch_violations(await dump(url, namespace), []) == []


async def test_an_import_that_skips_what_is_known_asks_nothing_about_new_actors(
    nats_server: EmbeddedServer, namespace: str
) -> None:
    """Where known ids are skipped a new actor has none, and one that is there is read."""
    async with listening(nats_server.url, namespace, heads_max=1) as (store, listener):
        await list_shard(store)
        asked = listener.heads
        events = [NewEvent("t") for _ in LATER]
        for count in (0, len(LATER)):
            async with store.ingest(skip_known=True) as pipeline:
                await pipeline.put_many(zip(LATER, events, strict=True))
                await pipeline.flush()
                assert pipeline.stats().already_stored == count
            assert (listener.heads == asked) == (count == 0)
        assert await versions(store, LATER) == [1] * len(LATER)


async def test_who_comes_while_a_shard_is_listed_is_no_new_actor_afterwards(nats_server: EmbeddedServer, namespace: str) -> None:
    """What this owner wrote after the server had answered, and before the answer came, is in the roster."""
    async with listening(nats_server.url, namespace, heads_max=1) as (store, listener):

        async def meanwhile() -> None:
            await store.append(LATER[0], NewEvent("t"))
            assert await ingest(store, LATER[1:3]) == []

        listener.after = meanwhile
        await list_shard(store)
        assert has_roster(store)
        assert await ingest(store, LATER) == []
        assert await versions(store, LATER) == [1, 2] * 3 + [1] * (len(LATER) - 3)


async def test_an_answer_from_before_the_last_write_lists_nobody(nats_server: EmbeddedServer, namespace: str) -> None:
    """A server that has not reached the shard's last message is asked again, and where it stays behind there is no roster."""
    async with listening(nats_server.url, namespace) as (store, listener):
        await list_shard(store)
        for name in LATER:
            await store.append(name, NewEvent("t"))
        store._fenced._fences[SHARD].forget()
        for stale, is_listed in ((4, False), (1, True)):
            listener.stale = stale
            store._fenced._fences[SHARD].absent = ABSENT_MIN
            assert await ingest(store, [NAMES[-1 - stale]]) == []
            assert (listener.stale, has_roster(store)) == (0, is_listed)
        assert await ingest(store, LATER) == []
        assert await versions(store, LATER) == [1, 2] * len(LATER)


@pytest.mark.parametrize("is_listed", [False, True], ids=["while it is listed", "afterwards"])
async def test_a_foreign_message_ends_a_roster(nats_server: EmbeddedServer, namespace: str, *, is_listed: bool) -> None:
    """Somebody publishes by hand for an actor that is new: its next event is judged by what is really there."""
    async with (
        listening(nats_server.url, namespace) as (store, listener),
        fenced_store(nats_server.url, f"{namespace}-x") as other,
    ):
        # A commit that another store made for that actor, copied by hand.
        await own_actor(other, LATER[0])
        await other.append(LATER[0], NewEvent("copied"))
        client = await nats.connect(nats_server.url)
        try:
            jetstream = client.jetstream()
            subject = actor_subject(f"{namespace}-x", LATER[0])
            copied = await jetstream.get_last_msg(f"AETHER-EVENTS-{namespace}-x", subject)

            async def copy() -> None:
                await jetstream.publish(actor_subject(namespace, LATER[0]), copied.data or b"")

            if not is_listed:
                listener.after = copy
            await list_shard(store)
            if is_listed:
                assert has_roster(store)
                await copy()
            assert await ingest(store, LATER) == []
        finally:
            await client.close()
        assert await versions(store, LATER[:1]) == [1, 2]
        assert await versions(store, [*FIRST, NEXT, *LATER[1:]]) == [1] * (len(FIRST) + len(LATER))


@pytest.mark.parametrize("is_listed", [False, True], ids=["while it is listed", "afterwards"])
async def test_a_shard_that_is_taken_elsewhere_is_lost_with_its_roster(
    nats_server: EmbeddedServer, namespace: str, *, is_listed: bool
) -> None:
    """The deposed owner takes an actor for new that is not any more: its write is refused, and no version is given twice."""
    async with (
        listening(nats_server.url, namespace) as (store, listener),
        fenced_store(nats_server.url, namespace, "n2") as other,
    ):

        async def take() -> None:
            await own(other, [SHARD])
            assert await ingest(other, LATER) == []

        if is_listed:
            await list_shard(store)
            assert has_roster(store)
            await take()
        else:
            assert await ingest(store, FIRST) == []
            listener.after = take
            assert [type(error) for error in await ingest(store, [NEXT])] == [NotOwnerError]
        failed = await ingest(store, LATER)
        assert len(failed) == len(LATER)
        assert all(isinstance(error, NotOwnerError) for error in failed)
        assert not has_roster(store)
        assert await versions(other, LATER) == [1] * len(LATER)
        assert epoch_violations(await dump(nats_server.url, namespace), []) == []
        # Taken back, the shard has another fence, which knows nothing of that roster.
        await own(store, [SHARD], 2)
        assert not has_roster(store)
        assert await ingest(store, LATER) == []
        assert await versions(store, LATER) == [1, 2] * len(LATER)


async def test_beyond_its_bound_rosters_are_given_up_once_and_aloud(
    nats_server: EmbeddedServer, namespace: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Where the rosters' room is too small the server is asked as before, and the log says so once."""
    async with listening(nats_server.url, namespace, heads_max=1) as (store, listener):
        store._fenced.rosters = Rosters(store._events, namespace, bytes_max=100)
        with caplog.at_level(logging.WARNING, "aether.store"):
            for begin in range(0, 6 * ABSENT_MIN, ABSENT_MIN):
                assert await ingest(store, NAMES[begin : begin + ABSENT_MIN]) == []
        assert (listener.listings, has_roster(store)) == (1, False)
        said = [record.message for record in caplog.records if "rosters" in record.message]
        assert len(said) == 1
        assert "more actors than 100 bytes of rosters" in said[0]
        assert await versions(store, NAMES[: 6 * ABSENT_MIN]) == [1] * 6 * ABSENT_MIN


async def test_a_listing_that_is_left_leaves_no_roster(nats_server: EmbeddedServer, namespace: str) -> None:
    """A pipeline that is cancelled while it lists a shard leaves nothing begun behind, and the next one lists it."""
    async with listening(nats_server.url, namespace) as (store, listener):
        asked = asyncio.Event()

        async def hang() -> None:
            asked.set()
            await asyncio.get_running_loop().create_future()

        assert await ingest(store, FIRST) == []
        listener.after = hang
        work = asyncio.create_task(ingest(store, [NEXT]))
        async with asyncio.timeout(TIMEOUT_S):
            await asked.wait()
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)
        fence = store._fenced.fence(SHARD)
        assert fence is not None
        assert not fence.mark.has_roster
        assert await ingest(store, LATER) == []
        assert await ingest(store, [NEXT]) == []
        assert has_roster(store)
