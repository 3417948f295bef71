"""`Exchange`: who gets what, from a publisher here, from a frame reader, and one by one."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from aether import CommitTooLargeError, Event
from aether._native import EventFilter, Exchange, FrameReader, Mailbox, bus_body, bus_subject
from aether.testing.contract_ids import HOSTILE_IDS

ROOM = 64 * 2**20
DEADLINE_S = 60.0


def mailbox(max_events: int = 1_000, policy: str = "error", **wanted: object) -> Mailbox:
    """A mailbox that wants this."""
    return Mailbox(EventFilter(**wanted), max_events, ROOM, policy)  # type: ignore[arg-type]


def frame(event: Event, namespace: str = "shop", reply: str = "", sid: int = 7) -> bytes:
    """A message as a server sends it."""
    body = bus_body(event)
    head = f"MSG {bus_subject(namespace, event)} {sid} {reply + ' ' if reply else ''}{len(body)}\r\n"
    return head.encode() + body + b"\r\n"


def keys(events: list[Event]) -> list[tuple[str, str, int]]:
    """What tells events apart here."""
    return [(event.actor_id, event.event_type, event.version) for event in events]


def test_every_way_in_gives_the_same():
    """Published here, fed by a reader in chunks cut anywhere, and accepted one by one: each mailbox gets the same events."""
    published = [Event(f"order-{n % 5}", "Placed" if n % 3 else "Paid", n, {"n": n}) for n in range(1, 200)]
    wanted: list[dict[str, object]] = [
        {},
        {"actor_id": "order-3"},
        {"actor_prefix": "order-"},
        {"actor_prefix": "stock-"},
        {"event_types": ["Paid"]},
        {"actor_id": "order-1", "event_types": ["Placed"]},
    ]
    exchanges = [Exchange("shop") for _ in range(3)]
    boxes = [[mailbox(**one) for one in wanted] for _ in exchanges]
    for exchange, some in zip(exchanges, boxes, strict=True):
        for one in some:
            exchange.attach(one)
        assert len(exchange) == len(wanted)
    here, fed, accepting = exchanges
    assert here.publish(published) == (199, None)
    reader = FrameReader("mine.")
    reader.attach_messages(7, fed)
    wire = b"".join(frame(event) for event in published)
    for at in range(0, len(wire), 1_000):
        answers, controls, touched = reader.feed(wire[at : at + 1_000])
        assert (answers, controls) == ([], [])
        assert touched in ([], [7])
    for event in published:
        accepting.accept(bus_subject("shop", event), "", bus_body(event))
    for one, in_chunks, singly in zip(*boxes, strict=True):
        expected = one.take(1_000)
        assert in_chunks.take(1_000) == expected
        assert singly.take(1_000) == expected
    assert [one.delivered for one in boxes[0]] == [199, 40, 199, 0, 66, 27]


def test_hostile_names_reach_their_own_subscribers_alone():
    """Every hostile id, as actor and as type, comes through a subject to who wants just it, here and over the wire."""
    local, remote = Exchange("shop"), Exchange("shop")
    names = list(HOSTILE_IDS)
    boxes = [[mailbox(actor_id=name, event_types=[name]) for name in names] for _ in range(2)]
    for exchange, some in zip((local, remote), boxes, strict=True):
        for one in some:
            exchange.attach(one)
    published = [Event(actor, kind, 1, actor) for actor in names for kind in (actor, names[0], "Placed")]
    local.publish(published)
    reader = FrameReader("mine.")
    reader.attach_messages(7, remote)
    reader.feed(b"".join(frame(event) for event in published))
    for name, one, other in zip(names, *boxes, strict=True):
        expected = {(name, name)}
        assert {(event.actor_id, event.event_type) for event in one.take(10)} == expected
        assert {(event.actor_id, event.event_type) for event in other.take(10)} == expected
        assert (other.missed, other.damaged) == (0, 0)


def test_a_prefix_means_the_same_by_id_and_by_subject():
    """A beginning of an id, hostile or not, takes the same events here and over the wire."""
    names = [name for name in HOSTILE_IDS if len(name) < 40]
    for prefix in names:
        local, remote = Exchange("shop"), Exchange("shop")
        here, there = mailbox(actor_prefix=prefix), mailbox(actor_prefix=prefix)
        local.attach(here)
        remote.attach(there)
        published = [Event(name, "T", 1) for name in names]
        local.publish(published)
        for event in published:
            remote.accept(bus_subject("shop", event), "", bus_body(event))
        expected = [event for event in published if event.actor_id.startswith(prefix)]
        assert here.take(1_000) == there.take(1_000) == expected
        assert there.damaged == 0


def test_namespaces_are_told_apart():
    """An exchange of `shop` gives nothing of `shop-eu` as an event, and one of any namespace says whose each is."""
    shop, operator = Exchange("shop"), Exchange(None)
    ours, every = mailbox(), mailbox()
    shop.attach(ours)
    operator.attach(every)
    for namespace in ("shop", "shop-eu", "SHOP"):
        event = Event("order-1", "Placed", 1, namespace)
        for exchange in (shop, operator):
            exchange.accept(bus_subject(namespace, event), "", bus_body(event))
    assert [event.data for event in ours.take(1)] == ["shop"]
    assert (ours.pending, ours.damaged) == (0, 2)
    assert [(namespace, event.data) for namespace, event in every.take_with_namespaces(5)] == [
        ("shop", "shop"),
        ("shop-eu", "shop-eu"),
        ("SHOP", "SHOP"),
    ]
    with pytest.raises(ValueError, match="any namespace"):
        operator.publish([Event("order-1", "Placed", 1)])


def test_an_event_on_anothers_subject_is_damage():
    """A whole message under the subject of another actor or type is nobody's event; who wants that subject hears of it."""
    event, other = Event("order-1", "Placed", 1), Event("order-2", "Paid", 1)
    for subject, wants in (
        (bus_subject("shop", Event("order-2", "Placed", 1)), "order-2"),
        (bus_subject("shop", Event("order-1", "Paid", 1)), "order-1"),
        (bus_subject("shop", other), "order-2"),
    ):
        exchange = Exchange("shop")
        ones, others = mailbox(actor_id=wants), mailbox(actor_id="else")
        exchange.attach(ones)
        exchange.attach(others)
        exchange.accept(subject, "", bus_body(event))
        assert (ones.damaged, ones.pending, others.damaged, others.pending) == (1, 0, 0, 0)


def test_replies_come_over_the_wire():
    """A message with a reply subject is a request; one without is none."""
    exchange, one = Exchange("shop"), mailbox()
    exchange.attach(one)
    reader = FrameReader("mine.")
    reader.attach_messages(7, exchange)
    reader.feed(frame(Event("a", "T", 1), reply="_INBOX.x.1") + frame(Event("a", "T", 2)))
    assert [(event.version, reply) for event, reply in one.take_requests(9)] == [(1, "_INBOX.x.1"), (2, None)]


def test_a_reader_that_is_detached_takes_nothing():
    """After `detach` messages are of no interest, and of a subscription that nobody attached neither."""
    exchange, one = Exchange("shop"), mailbox()
    exchange.attach(one)
    reader = FrameReader("mine.")
    reader.attach_messages(7, exchange)
    assert reader.feed(frame(Event("a", "T", 1)) + frame(Event("a", "T", 2), sid=8))[2] == [7]
    reader.detach(7)
    assert reader.feed(frame(Event("a", "T", 3)))[2] == []
    assert one.pending == 1


def test_it_says_who_got_something():
    """`touched` names the mailboxes that got an event or a mark since it was last called."""
    exchange = Exchange("shop")
    ids = [exchange.attach(mailbox(actor_id=actor)) for actor in ("a", "b", "c")]
    assert exchange.touched() == []
    exchange.publish([Event("c", "T", 1), Event("a", "T", 1), Event("c", "T", 2)])
    assert exchange.touched() == [ids[2], ids[0]]
    assert exchange.touched() == []
    exchange.accept("aether-bus.shop.b.T", "", b"hello")
    exchange.publish([Event("a", "T", 2)])
    exchange.detach(ids[0])
    assert exchange.touched() == [ids[1]]


def test_a_group_shares_the_events():
    """Of a group each event goes to one member, in turn; who is in no group gets all."""
    exchange = Exchange("shop")
    workers, others, alone = [mailbox() for _ in range(3)], [mailbox() for _ in range(2)], mailbox()
    for one in workers:
        exchange.attach(one, "workers")
    for one in others:
        exchange.attach(one, "others")
    exchange.attach(alone, None)
    published = [Event("a", "T", version) for version in range(1, 31)]
    exchange.publish(published)
    assert exchange.takers(published[0]) == 3
    assert [one.pending for one in workers] == [10, 10, 10]
    assert [one.pending for one in others] == [15, 15]
    assert keys(alone.take(100)) == keys(published)
    assert sorted(keys([event for one in workers for event in one.take(100)])) == keys(published)


def test_a_publisher_waits_for_room_and_reaches_all_or_none():
    """A full mailbox with policy "block" stops the events before anybody got the next one; from there it goes on."""
    exchange = Exchange("shop")
    blocking, other = mailbox(max_events=3, policy="block"), mailbox()
    number = exchange.attach(blocking)
    exchange.attach(other)
    published = [Event("a", "T", version) for version in range(1, 8)]
    assert exchange.publish(published) == (3, number)
    assert (blocking.pending, other.pending) == (3, 3)
    assert exchange.publish(published, 3) == (3, number)
    blocking.take(2)
    assert exchange.publish(published, 3) == (5, number)
    exchange.detach(number)
    assert exchange.publish(published, 5) == (7, None)
    assert exchange.publish(published, 7) == (7, None)
    assert exchange.publish(published, 9) == (9, None)
    assert keys(other.take(100)) == keys(published)
    assert (blocking.missed, other.missed) == (0, 0)


def test_misuse():
    """What is no event, no list or a mailbox that is taken is refused, and nothing was given out."""
    exchange, one = Exchange("shop"), mailbox()
    exchange.attach(one)
    with pytest.raises(TypeError, match="Event objects"):
        exchange.publish([Event("a", "T", 1), "T"])  # type: ignore[list-item]
    with pytest.raises(TypeError):
        exchange.publish((Event("a", "T", 1),))  # type: ignore[arg-type]
    assert one.pending == 0
    with pytest.raises(ValueError, match="detach it there first"):
        Exchange("shop").attach(one)
    with pytest.raises(TypeError):
        FrameReader("mine.").attach_messages(7, one)  # type: ignore[arg-type]


def test_an_event_that_no_message_would_hold():
    """With a bound, an event too large ends what is given out before it, and is an error when it is the first."""
    exchange, one = Exchange("shop", event_bytes_max=1_000), mailbox()
    exchange.attach(one)
    published = [Event("a", "T", 1), Event("a", "T", 2, "x" * 2_000), Event("a", "T", 3)]
    assert exchange.publish(published) == (1, None)
    with pytest.raises(CommitTooLargeError) as caught:
        exchange.publish(published, 1)
    assert (caught.value.size, caught.value.limit) == (len(bus_body(published[1])), 1_000)
    exact = Exchange("shop", event_bytes_max=len(bus_body(published[1])))
    assert exact.publish(published) == (3, None)
    assert exchange.publish(published, 2) == (3, None)
    assert [event.version for event in one.take(9)] == [1, 3]


def test_threads_come_and_go(size):
    """While mailboxes come and go in some threads, one that stays gets every event of all publishers, in order, exactly once."""
    count = size.pick(3_000, 10_000, 50_000)
    exchange, stays = Exchange("shop"), mailbox(max_events=4 * count)
    exchange.attach(stays)
    done = threading.Event()

    def publish(number: int) -> None:
        whole = [Event(f"actor-{number}", "T", version) for version in range(1, count + 1)]
        for at in range(0, count, 50):
            assert exchange.publish(whole[at : at + 50])[0] == 50

    def come_and_go() -> None:
        while not done.is_set():
            one = mailbox(max_events=10)
            number = exchange.attach(one, "group")
            exchange.touched()
            exchange.detach(number)
            one.close()

    with ThreadPoolExecutor(6) as pool:
        guests = [pool.submit(come_and_go) for _ in range(2)]
        publishers = [pool.submit(publish, number) for number in range(4)]
        try:
            for future in publishers:
                future.result(DEADLINE_S)
        finally:
            done.set()
        for future in guests:
            future.result(DEADLINE_S)
    assert (len(exchange), stays.missed) == (1, 0)
    taken = stays.take(4 * count)
    for number in range(4):
        assert [event.version for event in taken if event.actor_id == f"actor-{number}"] == list(range(1, count + 1))
