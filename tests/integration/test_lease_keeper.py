"""Leases on a real server: taken, renewed, released, expired, taken over, and watched."""

from __future__ import annotations

import asyncio
import sys
import time
from contextlib import asynccontextmanager
from functools import partial

import pytest
from faults.proxy import Frame, Proxy
from faults.waiting import until
from nats.aio.client import Client

from aether.cluster.lease_body import LeaseBody
from aether.cluster.lease_keeper import LeaseKeeper
from aether.errors import NamespaceMismatchError
from aether.nats.boot_clock import boot_time
from aether.nats.connection import Connection
from aether.nats.coordination import Coordination
from aether.nats.subjects import coordination_stream, election_subject
from aether.nats.watch import CoordinationWatch

TIMEOUT_S = 30.0
TTL_S, SOON_S = 300, 60.0
"""How long leases live that are not to expire, and how long what must not wait for that, nor for a renewal, may take."""


class Candidate:
    """A connection, a watch and keepers on it, as a process would have them."""

    def __init__(self, url: str, namespace: str) -> None:
        self.namespace = namespace
        self.connection = Connection(url, TIMEOUT_S)
        self.coordination = Coordination(self.connection, namespace, TIMEOUT_S)
        self.watch = CoordinationWatch(self.connection, namespace, TIMEOUT_S)
        self.keepers: list[LeaseKeeper] = []
        self.held: list[int] = []
        self.lost: list[tuple[int, str]] = []

    async def start(self) -> None:
        """Open everything."""
        deadline = asyncio.get_running_loop().time() + TIMEOUT_S
        await self.connection.ready(deadline)
        await self.coordination.open(deadline)
        await self.watch.start(deadline)

    def keeper(self, name: str, *, group: str = "group", ttl_s: int = 3, take_over: bool = False) -> LeaseKeeper:
        """Return a keeper on this connection, begun."""
        keeper = LeaseKeeper(
            self.coordination,
            self.watch,
            election_subject(self.namespace, group),
            ttl_s=ttl_s,
            name=name,
            data={"address": f"at {name}"},
            take_over=take_over,
            on_held=self.held.append,
            on_lost=lambda term, reason, _body: self.lost.append((term, reason)),
        )
        keeper.start()
        self.keepers.append(keeper)
        return keeper

    async def aclose(self) -> None:
        """End everything, without a word about the leases."""
        for keeper in self.keepers:
            await keeper.aclose()
        await self.watch.aclose()
        await self.connection.aclose()


@asynccontextmanager
async def candidates(url: str, namespace: str, count: int):
    """Make several candidates, and end them."""
    made = [Candidate(url, namespace) for _ in range(count)]
    try:
        for candidate in made:
            await candidate.start()
        yield made
    finally:
        for candidate in made:
            await candidate.aclose()


def entry(candidate: Candidate, keeper: LeaseKeeper):
    """Return what a candidate sees on a keeper's subject."""
    return candidate.watch.entries.get(keeper.subject)


async def test_a_lease_is_taken_renewed_and_seen_by_others(nats_server, namespace):
    """A wanted lease is taken under a term that is the position of its write, and renewals leave the term as it is."""
    async with candidates(nats_server.url, namespace, 2) as (one, other):
        keeper = one.keeper("one", ttl_s=3)
        keeper.want()
        await until(lambda: keeper.valid)
        term = keeper.term
        assert term == keeper.position
        await until(lambda: keeper.position > term)
        assert keeper.term == term
        await until(lambda: entry(other, keeper) is not None and entry(other, keeper).position > term)
        body = LeaseBody.decode(entry(other, keeper).body)
        assert (body.name, body.session, body.term, body.data) == ("one", keeper.session, term, {"address": "at one"})
        assert one.held == [term]
        assert one.lost == []


async def test_only_one_of_many_holds_it_and_a_release_hands_over(nats_server, namespace):
    """Of five candidates one holds the lease, and when it lets go, another has it long before its time to live is over."""
    async with candidates(nats_server.url, namespace, 5) as all_:
        keepers = [candidate.keeper(f"c{number}", ttl_s=TTL_S) for number, candidate in enumerate(all_)]
        for keeper in keepers:
            keeper.want()
        terms = []
        for _ in range(5):
            await until(lambda: sum(keeper.valid for keeper in keepers) == 1)
            holder = next(keeper for keeper in keepers if keeper.valid)
            terms.append(holder.term)
            await holder.release(asyncio.get_running_loop().time() + TIMEOUT_S)
            assert not holder.valid
            await until(
                lambda: any(keeper.valid for keeper in keepers) or all(not keeper._lease.wanted for keeper in keepers),
                limit_s=SOON_S,
            )
        assert terms == sorted(set(terms))


async def test_a_dead_holders_lease_passes_on_when_it_expires(nats_server, namespace):
    """A holder that is gone without a word loses the lease by its time to live, and the next term begins after that."""
    async with candidates(nats_server.url, namespace, 2) as (dead, heir):
        first, second = dead.keeper("dead", ttl_s=2), heir.keeper("heir", ttl_s=2)
        first.want()
        await until(lambda: first.valid)
        second.want()
        term, held_until = first.term, first._lease.deadline
        began = []
        second._on_held = lambda _: began.append(boot_time())
        await dead.aclose()
        await until(lambda: second.valid)
        assert second.term > term
        assert began[0] >= held_until


async def test_the_same_name_takes_over_at_once_and_the_former_process_stops(nats_server, namespace):
    """Who may take over does so without waiting; the one who held it loses it, is told by whom, and bids no more."""
    async with candidates(nats_server.url, namespace, 2) as (old, new):
        first = old.keeper("node", ttl_s=TTL_S, take_over=True)
        first.want()
        await until(lambda: first.valid)
        second = new.keeper("node", ttl_s=TTL_S, take_over=True)
        second.want()
        await until(lambda: second.valid, limit_s=SOON_S)
        await until(lambda: first.replaced)
        assert not first.valid
        assert not second.replaced
        assert old.lost == [(old.held[0], "another session took it")]


async def test_a_change_goes_out_at_once(nats_server, namespace):
    """What the body tells reaches others long before the next renewal would be due."""
    async with candidates(nats_server.url, namespace, 2) as (one, other):
        keeper = one.keeper("one", ttl_s=TTL_S)
        keeper.want()
        await until(lambda: keeper.valid)
        keeper.update({"state": "draining"})
        await until(
            lambda: entry(other, keeper) and LeaseBody.decode(entry(other, keeper).body).data == {"state": "draining"},
            limit_s=SOON_S,
        )
        assert keeper.term == one.held[0]


async def test_a_server_that_restarts_moves_no_lease(fresh_nats_server, namespace):
    """After an outage longer than the time to live the former holder has the lease again, under a new term."""
    async with candidates(fresh_nats_server.url, namespace, 3) as all_:
        # Whoever waits gives the former holder a third of his own time to live, so that a busy machine makes no difference.
        keepers = [candidate.keeper(f"c{number}", ttl_s=TTL_S if number else 1) for number, candidate in enumerate(all_)]
        keepers[0].want()
        await until(lambda: keepers[0].valid)
        for keeper in keepers:
            keeper.want()
        term = keepers[0].term
        await fresh_nats_server.kill()
        await until(lambda: not keepers[0].valid)
        await until(lambda: all(candidate.watch.unbroken_since is None for candidate in all_))
        await fresh_nats_server.restart()
        await until(lambda: any(keeper.valid for keeper in keepers))
        assert [keeper.valid for keeper in keepers[1:]] == [False, False]
        await until(lambda: keepers[0].term > term)


async def test_a_watch_begins_anew_when_its_consumer_is_gone(nats_server, namespace):
    """A watch whose consumer somebody removes says so, begins anew, and knows everything again."""
    async with candidates(nats_server.url, namespace, 1) as (one,):
        keeper = one.keeper("one", ttl_s=60)
        keeper.want()
        await until(lambda: keeper.valid)
        since = one.watch.unbroken_since
        js = one.connection.client.jetstream()
        for consumer in await js.consumers_info(coordination_stream(namespace)):
            await js.delete_consumer(coordination_stream(namespace), consumer.name)
        await until(lambda: one.watch.unbroken_since not in (None, since))
        assert entry(one, keeper).position == keeper.position
        assert keeper.term == one.held[0]


async def test_another_stream_is_refused(nats_server, namespace):
    """A coordination stream with other settings is refused with each difference."""
    async with candidates(nats_server.url, namespace, 1) as (one,):
        js = one.connection.client.jetstream()
        await js.add_stream(name=f"{coordination_stream(namespace)}x", subjects=[f"aether-coord.{namespace}x.>"])
        other = Candidate(nats_server.url, f"{namespace}x")
        with pytest.raises(NamespaceMismatchError, match="max_msgs_per_subject is -1, not 1"):
            await other.start()
        await other.aclose()
        config = (await js.stream_info(coordination_stream(namespace))).config
        await js.update_stream(config.evolve(max_bytes=10_000, max_msgs=60))
        other = Candidate(nats_server.url, namespace)
        with pytest.raises(
            NamespaceMismatchError, match=r"max_msgs is 60, and must be .*max_bytes is 10000, and must be"
        ) as caught:
            await other.start()
        assert len(caught.value.differences) == 2
        await other.aclose()


async def test_a_message_that_is_lost_on_the_way_is_noticed(nats_server, namespace):
    """A watch that misses a message without losing its connection says that it is broken, and knows the message after that."""
    async with Proxy(nats_server.url) as proxy, candidates(nats_server.url, namespace, 1) as (writer,):
        keeper = writer.keeper("writer", ttl_s=60)
        watcher = Candidate(proxy.url, namespace)
        await watcher.start()
        since = watcher.watch.unbroken_since
        lost = []

        def is_first(frame: Frame) -> bool:
            if frame.subject == keeper.subject and not lost:
                lost.append(frame)
                return True
            return False

        proxy.lose_from_server = is_first
        keeper.want()
        await until(lambda: keeper.valid and lost)
        await until(lambda: watcher.watch.unbroken_since not in (None, since))
        assert entry(watcher, keeper).position == keeper.position
        await watcher.aclose()


async def test_a_watch_that_stands_still_is_noticed(nats_server, namespace):
    """A watch that gets heartbeats, and not what its own keeper writes, is broken; one that gets it stays as it is."""
    async with candidates(nats_server.url, namespace, 2) as (one, other):
        # As where a server's copy of the stream stands still: this consumer is never told of anything new.
        one.watch._filter = election_subject(namespace, "another")
        consumer = one.watch._consumer
        one.watch._tell_broken("begin with that filter")
        consumer.end("begin with that filter")
        await until(lambda: one.watch.unbroken_since is not None and one.watch._consumer is not consumer)
        since, others = one.watch.unbroken_since, other.watch.unbroken_since
        for candidate in (one, other):
            candidate.keeper("x", group=str(id(candidate)), ttl_s=60).want()
        await until(lambda: one.watch.unbroken_since not in (None, since))
        assert all(keeper.valid for candidate in (one, other) for keeper in candidate.keepers)
        assert other.watch.unbroken_since == others


async def test_a_watch_that_is_closed_as_an_answer_comes_ends(nats_server, namespace, monkeypatch):
    """Closing does not wait for ever, at whatever moment of the watch's beginning it comes."""
    closing: list[asyncio.Task[None]] = []
    process_pong = Client._process_pong

    async def process(client):
        await process_pong(client)
        if watch._task is not None and not closing:
            closing.append(asyncio.create_task(watch.aclose()))

    connection = Connection(nats_server.url, TIMEOUT_S)
    deadline = asyncio.get_running_loop().time() + TIMEOUT_S
    await connection.ready(deadline)
    await Coordination(connection, namespace, TIMEOUT_S).open(deadline)
    watch = CoordinationWatch(connection, namespace, TIMEOUT_S)
    monkeypatch.setattr(Client, "_process_pong", process)
    starting = asyncio.create_task(watch.start(deadline))
    await until(lambda: closing and closing[0].done())
    assert closing[0].exception() is None
    starting.cancel()
    await asyncio.wait([starting])
    await connection.aclose()


def test_the_clock_of_leases_goes_on_while_the_machine_sleeps():
    """It is the clock that counts suspended time, where the system has one, and it never goes back."""
    clock = partial(time.clock_gettime, time.CLOCK_BOOTTIME) if sys.platform == "linux" else boot_time
    times = [clock(), *(boot_time() for _ in range(1_000)), clock()]
    assert times == sorted(times)


async def test_an_error_that_nobody_expected_ends_no_keeper(nats_server, namespace, monkeypatch, caplog):
    """A write that fails in a way nobody thought of is tried again: the lease is had again, and the log tells of it once."""
    async with candidates(nats_server.url, namespace, 1) as [one]:
        keeper = one.keeper("a", ttl_s=1)
        keeper.want()
        await until(lambda: keeper.valid)
        write, failing = one.coordination.write, True

        async def fails(*args, **kwargs):
            if failing:
                raise KeyError("a bug")
            return await write(*args, **kwargs)

        monkeypatch.setattr(one.coordination, "write", fails)
        await until(lambda: one.lost)
        failing = False
        await until(lambda: keeper.valid)
        await until(lambda: keeper._lease.deadline > boot_time() + 0.5)
        assert sum("an error that nobody expected" in record.getMessage() for record in caplog.records) == 1
        assert "KeyError: 'a bug'" in caplog.text


async def test_who_fails_to_hear_of_a_lease_ends_no_keeper(nats_server, namespace, caplog):
    """A lease is renewed, and had again after it was lost, although whoever is told of it raises each time."""
    async with candidates(nats_server.url, namespace, 1) as [one]:
        told = []

        def hear(*what):
            told.append(what)
            raise ValueError("deaf")

        keeper = one.keeper("a", ttl_s=3)
        keeper._on_held = keeper._on_lost = hear
        keeper.want()
        await until(lambda: keeper.valid)
        position = keeper.position
        await until(lambda: keeper.position > position)
        await keeper.release(asyncio.get_running_loop().time() + TIMEOUT_S)
        keeper.want()
        await until(lambda: keeper.valid)
        assert len(told) == 3
        assert caplog.text.count("ValueError: deaf") == 3
