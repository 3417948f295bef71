"""The state machine of a lease, step by step, on a clock that the test moves."""

from __future__ import annotations

import pytest

from aether.cluster.lease import Lease
from aether.cluster.lease_words import Action, Change, Record, What

TTL_S = 3.0


def made(*, take_over: bool = False) -> Lease:
    """Return a lease that is wanted, and whose watch has seen that the subject is empty."""
    lease = Lease("me", TTL_S, lambda: 0.5, take_over=take_over)
    lease.want()
    assert lease.due(0.0) == Action(What.READ)
    lease.read(0.0, Record())
    lease.synced(0.0, None)
    lease.due(0.0)
    lease.read(0.0, Record())
    return lease


def held(*, take_over: bool = False) -> Lease:
    """Return a lease that is held in term 7, asked for at 0 s and answered at 1 s."""
    lease = made(take_over=take_over)
    assert lease.due(0.0) == Action(What.ACQUIRE, 0, 0, 1)
    lease.acked(1.0, 7)
    assert lease.changes.popleft() == Change(held=True, term=7)
    return lease


def theirs(position: int, *, beat: int = 1) -> Record:
    """Return a record of another session."""
    return Record(position, "they", 0, beat, ttl_s=TTL_S)


def test_time_counts_from_before_the_request_went_out():
    """A lease whose answer took a second is valid until a tenth of its time before the server may drop it, no longer."""
    lease = held()
    assert lease.deadline == pytest.approx(2.7)
    assert lease.is_valid(2.69)
    assert not lease.is_valid(2.71)
    lease.tick(2.71)
    assert lease.changes.popleft() == Change(held=False, term=7, reason="not renewed in time")


def test_a_term_that_was_over_stays_over():
    """An answer that comes after the deadline revives nothing: the next term is another."""
    lease = held()
    assert lease.due(1.0) == Action(What.RENEW, 7, 7, 2)
    lease.acked(2.8, 9)
    assert not lease.is_valid(2.8)
    assert lease.due(2.8) == Action(What.ACQUIRE, 9, 0, 3)
    lease.acked(2.9, 11)
    assert lease.term == 11


def test_a_renewal_moves_the_deadline_and_not_the_term():
    """Renewals go out each third of the time to live, under the last own position."""
    lease = held()
    assert lease.due(0.99) is None
    assert lease.wake_at() == pytest.approx(1.0)
    assert lease.due(1.0) == Action(What.RENEW, 7, 7, 2)
    lease.acked(1.1, 9)
    assert (lease.term, lease.position, lease.deadline) == (7, 9, pytest.approx(3.7))


def test_a_change_goes_out_behind_a_renewal_that_may_not_have_it():
    """What changes while a renewal is under way is told by another right after it."""
    lease = held()
    lease.due(1.0)
    lease.touch(1.05)
    assert lease.due(1.05) is None
    lease.acked(1.1, 9)
    assert lease.due(1.1) == Action(What.RENEW, 9, 7, 3)
    lease.acked(1.2, 11)
    assert lease.due(1.2) is None


def test_silence_extends_nothing_until_the_own_write_is_found():
    """A renewal that is not answered leaves the deadline; found by its beat, it counts from when it was sent."""
    lease = held()
    lease.due(1.0)
    lease.unanswered(1.5)
    assert lease.deadline == pytest.approx(2.7)
    assert lease.due(1.5) == Action(What.READ)
    lease.read(1.6, Record(9, "me", 7, 2, ttl_s=TTL_S))
    assert lease.deadline == pytest.approx(3.7)
    assert lease.due(1.6) is None


def test_a_foreign_body_ends_the_term_at_once():
    """Whatever the clock says, another session's record behind the own one ends the term."""
    lease = held()
    lease.seen(1.2, theirs(9))
    assert not lease.is_valid(1.2)
    assert lease.due(1.2) is None


def test_an_old_word_ends_nothing():
    """A stale read, or a replica that lags, does not end a term; a renewal decides."""
    lease = held()
    lease.due(1.0)
    lease.unanswered(1.1)
    lease.due(1.1)
    lease.read(1.2, theirs(5))
    assert lease.is_valid(1.2)
    assert lease.due(1.2) == Action(What.RENEW, 7, 7, 3)


def test_a_marker_lets_everybody_bid_at_once():
    """Who waits bids under the position of the marker as soon as it is seen."""
    lease = made()
    lease.seen(0.0, theirs(4))
    assert lease.due(1.0) is None
    lease.seen(2.0, Record(6))
    assert lease.due(2.0) == Action(What.ACQUIRE, 6, 0, 1)


def test_a_marker_that_is_gone_is_found_gone():
    """A bid under a marker that the server has dropped is refused; a read shows nothing, and the next bid names nothing."""
    lease = made()
    lease.seen(0.0, Record(6))
    lease.due(20.0)
    lease.refused(20.0)
    assert lease.due(20.0) == Action(What.READ)
    lease.read(20.0, Record())
    assert lease.due(20.5) == Action(What.ACQUIRE, 0, 0, 2)


def test_a_lost_marker_is_looked_for():
    """Somebody else's lease that is not renewed, and whose marker never comes, is read after its time, and bid for soon after."""
    lease = made()
    lease.seen(0.0, theirs(4))
    assert lease.wake_at() == pytest.approx(4.0)
    assert lease.due(4.0) == Action(What.READ)
    lease.read(4.0, Record())
    assert lease.due(4.0) is None
    assert lease.wake_at() == pytest.approx(5.5)
    assert lease.due(5.5) == Action(What.ACQUIRE, 0, 0, 1)


def test_a_late_marker_tells_of_an_outage():
    """A lease that expires later than it should was kept by servers without a leader: who held it gets time to come back."""
    lease = made()
    lease.seen(0.0, theirs(4))
    lease.seen(6.0, Record(6))
    assert lease.due(6.0) is None
    assert lease.wake_at() == pytest.approx(7.5)
    assert lease.due(7.5) == Action(What.ACQUIRE, 6, 0, 1)


def test_reads_while_a_marker_is_late_hide_no_outage():
    """Who looks for the late marker, and finds the lease still there, still lets its holder come back first when it comes."""
    lease = made()
    lease.seen(0.0, theirs(4))
    for time_s in (4.0, 8.0):
        assert lease.due(time_s) == Action(What.READ)
        lease.read(time_s, theirs(4))
    lease.seen(8.5, Record(6))
    assert lease.due(8.5) is None
    assert lease.wake_at() == pytest.approx(10.0)


def test_after_the_stream_was_made_anew_terms_begin_anew():
    """A bid that is stored below the last term says that positions began anew: it is held, and nobody writes again and again."""
    lease = held()
    lease.seen(1.5, Record(9))
    assert [change.held for change in lease.changes] == [False]
    assert lease.due(1.5) == Action(What.ACQUIRE, 9, 0, 2)
    lease.refused(1.5)
    assert lease.due(1.5) == Action(What.READ)
    lease.read(1.6, Record())
    assert lease.due(2.0) == Action(What.ACQUIRE, 0, 0, 3)
    lease.acked(2.0, 1)
    assert lease.term == 1
    assert lease.due(2.0) is None


def test_after_an_outage_the_former_holder_bids_first():
    """An outage in which the lease expired leaves it to who held it: the others wait a third of the time to live and more."""
    former, other = held(), made()
    other.seen(0.0, theirs(4))
    for lease in (former, other):
        lease.broken(1.0)
        assert not lease.is_valid(10.0)
        lease.synced(10.0, Record(20))
    assert former.due(10.0) == Action(What.ACQUIRE, 20, 0, 2)
    assert other.due(10.0) is None
    assert other.wake_at() == pytest.approx(11.5)
    other.seen(10.1, Record(22, None, released=True))
    assert other.due(10.1) == Action(What.ACQUIRE, 22, 0, 1)


def test_letting_go_ends_the_term_before_anything_is_sent():
    """A lease that is wanted no more is invalid at once, and then given back under the own last position."""
    lease = held()
    lease.unwant(1.0)
    assert not lease.is_valid(1.0)
    assert not lease.is_settled()
    assert lease.due(1.0) == Action(What.RELEASE, 7, 0, 2)
    lease.acked(1.1, 9)
    assert lease.is_settled()
    assert lease.due(1.1) is None


def test_a_bid_that_is_stored_after_nobody_wants_it_is_given_back():
    """A bid without an answer that is found later, wanted no more, is released and never held."""
    lease = made()
    lease.due(0.0)
    lease.unanswered(0.5)
    lease.unwant(0.5)
    lease.due(0.5)
    lease.read(0.6, Record())
    assert lease.is_settled()
    lease.seen(0.9, Record(7, "me", 0, 1, ttl_s=TTL_S))
    assert not lease.is_valid(0.9)
    assert lease.due(0.9) == Action(What.RELEASE, 7, 0, 2)


def test_the_same_name_takes_over_once():
    """Who may take over bids under the living lease's position; whoever does the same to it later ends it for good."""
    lease = made(take_over=True)
    lease.seen(0.0, theirs(4))
    assert lease.due(0.0) == Action(What.ACQUIRE, 4, 0, 1)
    lease.acked(0.1, 6)
    assert lease.is_valid(0.1)
    lease.seen(0.2, theirs(8, beat=9))
    assert not lease.is_valid(0.2)
    assert lease.replaced
    lease.seen(5.0, Record(10))
    assert lease.due(5.0) is None
    assert lease.wake_at() == float("inf")


def test_what_fails_again_and_again_is_not_tried_in_a_hot_loop():
    """Failures are looked into at once, then after longer and longer pauses, a twelfth of the time to live at most."""
    lease = made()
    now, pauses = 0.0, []
    for _ in range(20):
        at = max(now, lease.wake_at())
        pauses.append(at - now)
        now = at
        assert lease.due(now) is not None
        lease.unanswered(now)
    assert pauses[-1] == pytest.approx(TTL_S / 12 * 0.75)
    assert sum(pause == 0 for pause in pauses) <= 2
