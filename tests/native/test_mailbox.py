"""`Mailbox`: what Python sees of it, from one thread and from many; the core's own tests compare it with a plain model."""

from __future__ import annotations

import gc
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import pytest

from aether import (
    CorruptEventError,
    Event,
    SubscriptionInterruptedError,
    SubscriptionLaggedError,
    UnknownFormatError,
)
from aether._native import EventFilter, Exchange, Mailbox

ALL = EventFilter()
ROOM = 64 * 2**20
DEADLINE_S = 60.0


def box(max_events: int = 100, max_bytes: int = ROOM, policy: str = "error") -> tuple[Exchange, Mailbox]:
    """A mailbox that takes everything, and its exchange."""
    exchange, mailbox = Exchange("shop"), Mailbox(ALL, max_events, max_bytes, policy)
    exchange.attach(mailbox)
    return exchange, mailbox


def events(first: int, last: int, actor: str = "order-1") -> list[Event]:
    """Events of these versions, both included."""
    return [Event(actor, "Placed", version, version) for version in range(first, last + 1)]


def versions(taken: list[Event]) -> list[int]:
    """Their versions."""
    return [event.version for event in taken]


def drain(mailbox: Mailbox) -> list[int | str]:
    """All that comes out: versions, and the errors of marks as text."""
    out: list[int | str] = []
    while mailbox.has_next():
        try:
            out += versions(mailbox.take(1000))
        except SubscriptionLaggedError as error:
            out.append(f"lagged {error.missed}")
        except SubscriptionInterruptedError as error:
            out.append(error.reason)
        except CorruptEventError as error:
            out.append(
                f"corrupt {error.stream}{error.reason[error.reason.find('; and ') :] if 'more such' in error.reason else ''}"
            )
    return out


def test_one_by_one_and_in_batches():
    """`next` and `take` give the very events in order, and say when there is nothing."""
    exchange, mailbox = box()
    published = events(1, 10)
    assert mailbox.next() is None
    assert mailbox.take(5) == []
    assert exchange.publish(published) == (10, None)
    assert mailbox.pending == 10
    assert mailbox.pending_bytes >= sum(len(event.payload) for event in published)
    assert [mailbox.next(), mailbox.next()] == published[:2]
    assert mailbox.take(5) == published[2:7]
    assert mailbox.take(0) == []
    assert mailbox.take(5) == published[7:]
    assert mailbox.next() is None
    assert (mailbox.delivered, mailbox.pending, mailbox.pending_bytes, mailbox.missed, mailbox.damaged) == (10, 0, 0, 0, 0)


def test_a_lag_is_raised_once_where_events_are_missing():
    """With policy "error" what had no room is missing exactly where the error is raised, and iteration goes on."""
    exchange, mailbox = box(max_events=3)
    exchange.publish(events(1, 5))
    assert versions(mailbox.take(2)) == [1, 2]
    exchange.publish(events(6, 9))
    assert mailbox.missed == 4
    assert drain(mailbox) == [3, "lagged 2", 6, 7, "lagged 2"]
    assert mailbox.next() is None
    exchange.publish(events(10, 10))
    assert drain(mailbox) == [10]


def test_next_raises_what_take_raises():
    """`next` raises a mark in its place, once."""
    exchange, mailbox = box(max_events=1)
    exchange.publish(events(1, 3))
    assert mailbox.next().version == 1
    with pytest.raises(SubscriptionLaggedError) as caught:
        mailbox.next()
    assert caught.value.missed == 2
    assert mailbox.next() is None


def test_the_oldest_are_dropped_and_counted():
    """With policy "drop_oldest" the newest are there, and what is gone is counted without an error."""
    exchange, mailbox = box(max_events=3, policy="drop_oldest")
    exchange.publish(events(1, 10))
    assert (mailbox.missed, drain(mailbox)) == (7, [8, 9, 10])


def test_bytes_are_a_bound_too():
    """Events take no more bytes together than the mailbox may hold, and one that is larger alone is missed."""
    big = Event("order-1", "Placed", 1, "x" * 5_000)
    for policy, told in (("error", ["lagged 1"]), ("drop_oldest", []), ("block", ["lagged 1"])):
        exchange, mailbox = box(max_bytes=4_000, policy=policy)
        assert exchange.publish([big]) == (1, None)
        assert (mailbox.missed, drain(mailbox)) == (1, told)
        sent, _ = exchange.publish(events(1, 100))
        assert 4_000 - 300 < mailbox.pending_bytes <= 4_000
        assert mailbox.pending + mailbox.missed - 1 == sent


def test_room_can_be_asked_for():
    """`has_room` knows both bounds."""
    exchange, mailbox = box(max_events=3, max_bytes=1_000)
    assert mailbox.has_room()
    assert mailbox.has_room(3, 1_000)
    assert not mailbox.has_room(4)
    assert not mailbox.has_room(bytes=1_001)
    exchange.publish(events(1, 3))
    assert not mailbox.has_room()
    assert mailbox.has_room(0)
    mailbox.take(1)
    assert mailbox.has_room()


def test_an_interruption_holds_what_comes_behind_it():
    """Nothing behind it comes out before `resume`; then its error is raised once, and the events follow."""
    exchange, mailbox = box(max_events=4)
    exchange.publish(events(1, 1))
    one, other = mailbox.interrupt("the connection was lost"), mailbox.interrupt("a server was lost")
    exchange.publish(events(2, 6))
    assert drain(mailbox) == [1]
    assert not mailbox.has_next()
    assert mailbox.next() is None
    mailbox.resume(one)
    assert not mailbox.has_next()
    mailbox.resume(other)
    mailbox.resume(other)
    assert drain(mailbox) == ["the connection was lost; a server was lost", 2, 3, 4, "lagged 2"]


def test_others_have_their_turn():
    """After 256 events in a row `next` gives None although more wait, and after `rest` so many again."""
    exchange, mailbox = box(max_events=2_000)
    exchange.publish(events(1, 1_000))

    def run() -> int:
        count = 0
        while mailbox.next() is not None:
            count += 1
        return count

    assert run() == 256
    assert mailbox.has_next()
    for _ in range(100):
        mailbox.next()
    mailbox.rest()
    assert run() == 256


def test_damage_is_told_with_its_subject():
    """What is no event of its subject is a CorruptEventError with the subject; a later format is its cause."""
    exchange, mailbox = box()
    exchange.accept("aether-bus.shop.order-1.Placed", "", b"hello")
    with pytest.raises(CorruptEventError, match="a map was expected") as caught:
        mailbox.next()
    assert (caught.value.stream, caught.value.position, caught.value.actor_id) == ("aether-bus.shop.order-1.Placed", 0, None)
    assert caught.value.__cause__ is None
    exchange.accept("aether-bus.shop.order-1.Placed", "", b"\x81\xa6format\x02")
    with pytest.raises(CorruptEventError, match="format 2") as caught:
        mailbox.take(5)
    assert isinstance(caught.value.__cause__, UnknownFormatError)
    for _ in range(1_000):
        exchange.accept("aether-bus.shop.order-1.Placed", "", b"hello")
    assert mailbox.damaged == 1_002
    told = drain(mailbox)
    assert (len(told), set(told[:-1])) == (100, {"corrupt aether-bus.shop.order-1.Placed"})
    assert told[-1] == "corrupt aether-bus.shop.order-1.Placed; and 900 more such messages"
    assert mailbox.next() is None


def test_closing_and_clearing():
    """A closed mailbox gives what waits and takes nothing; `clear` forgets the rest, uncounted."""
    exchange, mailbox = box()
    exchange.publish(events(1, 3))
    mailbox.interrupt("lost")
    mailbox.close()
    exchange.publish(events(4, 5))
    assert not mailbox.is_ended()
    assert versions(mailbox.take(2)) == [1, 2]
    assert drain(mailbox) == [3, "lost"]
    assert mailbox.is_ended()
    exchange, mailbox = box()
    exchange.publish(events(1, 3))
    mailbox.clear()
    mailbox.close()
    assert (mailbox.is_ended(), mailbox.delivered, mailbox.pending, mailbox.missed) == (True, 0, 0, 0)


def test_requests_and_namespaces():
    """Events come with where they are answered, and with whose they are."""
    exchange, mailbox = box()
    exchange.publish(events(1, 1), reply="_INBOX.x.1")
    exchange.publish(events(2, 2))
    pairs = mailbox.take_requests(10)
    assert [(event.version, reply) for event, reply in pairs] == [(1, "_INBOX.x.1"), (2, None)]
    exchange.publish(events(3, 3))
    assert [(namespace, event.version) for namespace, event in mailbox.take_with_namespaces(10)] == [("shop", 3)]
    exchange.publish(events(4, 104))
    mailbox.take(100)
    for take in (mailbox.take_requests, mailbox.take_with_namespaces):
        with pytest.raises(SubscriptionLaggedError):
            take(10)
        assert take(10) == []
        exchange.publish(events(1, 101))
        mailbox.take(100)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ((ALL, 0, 1, "error"), "1 or more"),
        ((ALL, 1, 0, "error"), "1 or more"),
        ((ALL, 1, 1, "drop"), 'policy is "error", "drop_oldest" or "block", not "drop"'),
    ],
)
def test_misuse(arguments, reason):
    """What makes no mailbox is refused, and said what would."""
    with pytest.raises(ValueError, match=reason):
        Mailbox(*arguments)


@pytest.mark.parametrize("policy", ["error", "drop_oldest"])
def test_threads_take_each_event_once(policy, size):
    """Four threads publish and four take: each event is given out once or missed, the counters agree, and order holds."""
    count = size.pick(5_000, 20_000, 100_000)
    exchange, mailbox = box(max_events=512, policy=policy)
    published = threading.Event()
    taken: list[list[Event]] = [[] for _ in range(4)]
    lagged: Counter[int] = Counter()

    def publish(number: int) -> None:
        whole = events(1, count, f"actor-{number}")
        for at in range(0, count, 100):
            assert exchange.publish(whole[at : at + 100]) == (100, None)

    def some(number: int) -> list[Event]:
        if number % 2:
            return mailbox.take(64)
        event = mailbox.next()
        return [] if event is None else [event]

    def take(number: int) -> None:
        while not published.is_set() or mailbox.has_next():
            try:
                taken[number] += some(number)
            except SubscriptionLaggedError as error:
                lagged[number] += error.missed

    with ThreadPoolExecutor(8) as pool:
        takers = [pool.submit(take, number) for number in range(4)]
        try:
            for future in [pool.submit(publish, number) for number in range(4)]:
                future.result(DEADLINE_S)
        finally:
            published.set()
        for future in takers:
            future.result(DEADLINE_S)
    everything = [(event.actor_id, event.version) for some in taken for event in some]
    assert len(everything) == len(set(everything)) == mailbox.delivered
    assert mailbox.delivered + mailbox.missed == 4 * count
    assert sum(lagged.values()) == (mailbox.missed if policy == "error" else 0)
    assert all(in_order(some) for some in taken)


def in_order(taken: list[Event]) -> bool:
    """Whether each actor's versions increase."""
    actors = {event.actor_id for event in taken}
    by_actor = ([event.version for event in taken if event.actor_id == actor] for actor in actors)
    return all(before < after for versions in by_actor for before, after in pairwise(versions))


def test_the_collector_may_come_back_for_the_same_mailbox():
    """A finalizer that the garbage collector runs while events are made objects may use mailbox and exchange: no lock is held."""
    exchange, mailbox = box(max_events=10_000)
    came: list[int] = []

    class Finalized:
        def __init__(self) -> None:
            self.cycle = self

        def __del__(self) -> None:
            came.append(mailbox.pending)
            mailbox.has_next()
            exchange.publish(events(1, 1))
            exchange.touched()

    before = gc.get_threshold()
    gc.set_threshold(1)
    try:
        for _ in range(50):
            Finalized()
            exchange.publish(events(1, 20), reply="_INBOX.x.1")
            mailbox.take_requests(50)
            mailbox.take_with_namespaces(50)
            mailbox.take(50)
            exchange.accept("aether-bus.shop.a.T", "", b"hello")
            assert any(str(one).startswith("corrupt") for one in drain(mailbox))
    finally:
        gc.set_threshold(*before)
    assert came
