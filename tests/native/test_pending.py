"""`Pending`: ingestion's bookkeeping as Python sees it; rust/pending/tests.rs has its model."""

from __future__ import annotations

import pytest

from aether._native import Commit, Event, FrameReader, Head, HeadCache, NewEvent, Pending

BOUNDS = {
    "pending_max": 10,
    "pending_bytes_max": 100_000,
    "in_flight_max": 5,
    "in_flight_bytes_max": 100_000,
    "commit_events_max": 3,
}


@pytest.fixture
def heads() -> HeadCache:
    """What a store knows of its actors."""
    return HeadCache(100)


@pytest.fixture
def pending(heads: HeadCache) -> Pending:
    """Bookkeeping with small bounds."""
    return Pending("n", "S", heads, **BOUNDS)


def ack(token: int, position: int) -> bytes:
    """A plain ack as a frame on an inbox of subscription 7."""
    body = b'{"stream":"S", "seq":%d}' % position
    return b"MSG in.%d 7 %d\r\n%b\r\n" % (token, len(body), body)


def test_acks_are_matched_on_the_reader_without_an_object_for_each(pending: Pending, heads: HeadCache) -> None:
    """What a reader hears under the pipeline's subscription settles its commits and moves the heads of the store."""
    reader = FrameReader("other.")
    reader.attach(7, "in.", pending)
    assert pending.pull(iter([Event("a", "t", 1), Event("a", "t", 2), Event("b", "t", 1)]), 100) == (3, True)
    sent = pending.messages()
    assert [(guard, Commit.decode(body).actor_id) for _, _, guard, body, _ in sent] == [(0, "a"), (0, "b")]
    answers, controls, touched = reader.feed(ack(sent[0][1], 5) + ack(sent[1][1], 6))
    assert (answers, controls, touched) == ([], [], [7])
    assert pending.counts() == (3, 3, 0, 0, 0, 0, 0, 0, 2, sum(len(body) for *_, body, _ in sent), 0)
    head = heads.get("a")
    assert head is not None
    assert (head.version, head.sequence, pending.reached) == (2, 5, 6)


def test_no_more_is_taken_off_an_iterator_than_there_is_room_for(pending: Pending) -> None:
    """The iterator is left where the room ended, and what waits there is taken later."""
    events = iter([Event(f"a{n}", "t", 1) for n in range(12)])
    assert pending.pull(events, 4) == (4, False)
    assert pending.pull(events, 100) == (6, False)
    assert (pending.has_room(), pending.pull(events, 100), pending.put(Event("x", "t", 1))) == (False, (0, False), False)
    for _, token, *_ in pending.messages():
        pending.accept(token, 0, 0, "", b'{"stream":"S","seq":9}')
    assert pending.pull(events, 100) == (2, True)


def test_what_came_before_a_wrong_item_is_taken(pending: Pending) -> None:
    """An item that is no event, and an iterator that raises, lose nothing of what came before."""
    with pytest.raises(TypeError, match="not int"):
        pending.pull(iter([Event("a", "t", 1), 3]), 100)  # type: ignore[list-item]  # wrong on purpose
    with pytest.raises(ZeroDivisionError):
        pending.pull((Event("b", "t", 1 // (1 - n)) for n in range(2)), 100)
    with pytest.raises(TypeError, match="not str"):
        pending.put("an event")  # type: ignore[arg-type]  # wrong on purpose
    assert (pending.queued, pending.counts()[0]) == (2, 2)


def test_trouble_is_told_once_and_settled_once(pending: Pending) -> None:
    """A commit that was not plainly acked is handed out with its events, stands until settled, and then its actor goes on."""
    pending.put(Event("a", "t", 1))
    ((_, token, *_),) = pending.messages()
    pending.put(Event("a", "t", 2))
    pending.accept(token, 0, 0, "", b'{"error":{"code":400,"err_code":10071}}')
    ((ticket, why, number, guard, version, beaten, events, drafts, tags),) = pending.troubles(10)
    assert (why, number, guard, [event.version for event in events]) == ("refused", 10071, 0, [1])
    assert (version, beaten, drafts, tags) == (0, 0, [False], [0])
    assert (pending.troubles(10), pending.messages()) == ([], [])
    conflict = ("conflict", 0, 0, 0)
    with pytest.raises(ValueError, match="so many events"):
        pending.settle(ticket, [conflict, conflict])
    with pytest.raises(ValueError, match="no status"):
        pending.settle(ticket, [("lost", 0, 0, 0)])
    pending.settle(ticket, [conflict])
    with pytest.raises(ValueError, match="ticket"):
        pending.settle(ticket, [conflict])
    assert pending.messages() == []
    assert pending.headless(10) == [("a", 0)]
    pending.found("a", Head().after(1, 3))
    assert [guard for _, _, guard, *_ in pending.messages()] == [3]


def test_silence_and_loss_are_trouble(pending: Pending) -> None:
    """What is not answered within its rounds is in trouble, and so is all that is in flight when the connection is lost."""
    pending.put(Event("a", "t", 1))
    assert len(pending.messages()) == 1
    assert [pending.tick(1), pending.tick(1), pending.tick(1)] == [0, 1, 0]
    pending.put(Event("b", "t", 1))
    assert pending.frames("in.") != b""
    assert pending.lose() == 1
    assert [trouble[1] for trouble in pending.troubles(10)] == ["silent", "silent"]


def test_a_mark_is_settled_with_what_came_before_it(pending: Pending) -> None:
    """Events put after the mark do not hold it back."""
    pending.put(Event("a", "t", 1))
    mark = pending.mark()
    ((_, token, *_),) = pending.messages()
    pending.put(Event("a", "t", 2))
    assert not pending.is_settled(mark)
    pending.accept(token, 0, 0, "", b'{"stream":"S","seq":9}')
    assert pending.is_settled(mark)
    assert pending.counts()[6] == 1
    assert [(event.version, tag) for event, tag in pending.drop_queued()] == [(2, 0)]
    assert pending.is_settled(pending.mark())


def test_drafts_are_numbered_when_their_commit_is_made(pending: Pending, heads: HeadCache) -> None:
    """A draft gets the version behind the head or the event before it; back in its queue it gets another."""
    heads.put("a", Head().after(4, 7))
    first, second = NewEvent("t", 1), NewEvent("t", 2)
    assert pending.pull(iter([("a", first), Event("a", "t", 9), ("a", second)]), 10) == (3, True)
    ((_, token, guard, body, _),) = pending.messages()
    assert (guard, [event.version for event in Commit.decode(body).events()]) == (7, [5, 9, 10])
    pending.accept(token, 0, 0, "", b'{"error":{"code":400,"err_code":10071}}')
    ((ticket, _, _, _, version, _, events, drafts, _),) = pending.troubles(10)
    assert (version, [event.version for event in events], drafts) == (4, [5, 9, 10], [True, False, True])
    pending.settle(ticket, [("again", 0, 0, 0), ("renumber", 0, 0, 0), ("again", 0, 0, 0)])
    heads.put("a", Head().after(20, 30))
    ((_, token, _, body, _),) = pending.messages()
    stored = Commit.decode(body).events()
    assert [(event.version, event.payload) for event in stored] == [(21, b"\x01"), (22, b"\xc0"), (23, b"\x02")]
    pending.put(("a", first))
    assert pending.drop_queued() == [(("a", first), 0)]


def test_a_tag_is_settled_with_everything_before_it(pending: Pending) -> None:
    """`settled_tag` is the last of which everything up to it has ended."""
    tagged = [(5, Event("a", "t", 1)), (6, Event("b", "t", 1)), (9, ("c", NewEvent("t")))]
    assert pending.put_tagged(tagged) == 3
    assert pending.headless(9) == []
    (_, first, *_), (_, second, *_) = pending.messages()
    assert pending.headless(9) == [("c", 0)]
    pending.found("c", Head())
    pending.accept(second, 0, 0, "", b'{"stream":"S","seq":9}')
    assert pending.settled_tag() == 0
    pending.accept(first, 0, 0, "", b'{"stream":"S","seq":10}')
    assert pending.settled_tag() == 6
    ((_, third, *_),) = pending.messages()
    pending.accept(third, 0, 0, "", b'{"stream":"S","seq":11}')
    assert pending.settled_tag() == 9


def test_outcomes_are_kept_until_they_are_taken(pending: Pending) -> None:
    """What is not taken takes room; what is stored comes as an `Event`, what is not as it was put."""
    pending.tell_outcomes()
    pending.put(("a", NewEvent("t", 1, id="x")))
    assert pending.messages() == []
    pending.found(*pending.headless(9)[0][:1], Head().after(3, 5))
    ((_, token, *_),) = pending.messages()
    draft = NewEvent("t")
    assert pending.pull(iter([("a", draft)] * 20), 100) == (9, False)
    pending.accept(token, 0, 0, "", b'{"stream":"S","seq":9}')
    pending.drop_queued(7)
    assert not pending.has_room()
    (saved,) = pending.outcomes(1)
    assert (saved[0], saved[1].id, saved[2:]) == ("a", "x", ("saved", 9, 0))
    assert isinstance(saved[1], Event)
    assert saved[1].version == 4
    assert pending.has_room()
    assert pending.outcomes(100) == [("a", draft, "failed", 0, 7)] * 9


def test_known_ids_are_skipped(pending: Pending) -> None:
    """What the actor holds is asked for once; an equal id is already stored, one with other content is in trouble."""
    stored = Event("a", "t", 3, id="x")
    pending.skip_known(100)
    pending.tell_outcomes()
    draft = stored._draft()
    pending.pull(iter([("a", draft), ("a", NewEvent("t", id="new")), ("a", NewEvent("other", id="x"))]), 10)
    assert pending.messages() == []
    assert pending.headless(9) == [("a", 1)]
    assert pending.learn("a", [stored])
    pending.found("a", Head().after(3, 5))
    ((_, token, _, body, _),) = pending.messages()
    assert [(event.id, event.version) for event in Commit.decode(body).events()] == [("new", 4)]
    pending.accept(token, 0, 0, "", b'{"stream":"S","seq":9}')
    assert pending.messages() == []
    ((_, why, number, *_),) = pending.troubles(9)
    assert (why, number) == ("taken", 3)
    assert [outcome[2] for outcome in pending.outcomes(9)] == ["already_stored", "saved"]
    assert not Pending("n", "S", HeadCache(1), **BOUNDS).is_full()


@pytest.mark.parametrize("bound", BOUNDS)
def test_a_bound_of_zero_is_refused(heads: HeadCache, bound: str) -> None:
    """Nothing could ever move under it."""
    with pytest.raises(ValueError, match="1 or more"):
        Pending("n", "S", heads, **{**BOUNDS, bound: 0})
