"""Leases that should have ended, on a clock that the test moves."""

from __future__ import annotations

import pytest

from aether.nats.coordination import Entry
from aether.nats.overdue import OVER_MAX, Overdue

TTL_S = 3.0
LEASE = Entry("a", 7, b"x", marker=False)


def heard(at: float = 0.0) -> Overdue:
    """Return what heard of one lease."""
    overdue = Overdue()
    overdue.heard("a", 7, TTL_S, 1_000.0, at)
    return overdue


def test_a_lease_that_is_renewed_is_not_looked_for():
    """Each renewal begins its time anew, a marker ends it, and what lives for ever is never due."""
    overdue = heard()
    assert overdue.due(3.9) == []
    overdue.heard("a", 8, TTL_S, 1_001.0, 3.9)
    overdue.heard("table", 5, None, 900.0, 0.0)
    assert overdue.due(7.8) == []
    assert overdue.due(7.9) == [("a", 8)]
    overdue.heard("a", 9, None, 1_010.0, 7.9)
    assert overdue.due(1e9) == []


def test_what_the_leader_does_not_have_is_over():
    """A lease that only a server's copy has is over as soon as the leader says so, also when that copy tells of it again."""
    overdue = heard()
    assert overdue.due(4.0) == [("a", 7)]
    assert overdue.found("a", 7, None, 4.0) == Entry("a", 7, b"", marker=True)
    assert overdue.is_over("a", 7)
    assert not overdue.is_over("a", 8)
    assert overdue.due(1e9) == []


def test_what_the_leader_has_too_is_over_after_three_lives():
    """Where the leader itself goes on holding it, it is over once no clock of its holder can say otherwise."""
    overdue = heard()
    for now in (4.0, 5.0, 9.9):
        assert overdue.found("a", 7, LEASE, now) is None
    assert overdue.due(10.8) == []
    assert overdue.due(10.9) == [("a", 7)]
    assert overdue.found("a", 7, LEASE, 10.9) == Entry("a", 7, b"", marker=True)


def test_without_an_answer_nothing_is_known_to_have_ended():
    """While the servers have no leader a lease is looked for again and again, and stays."""
    overdue = heard()
    for now in (4.0, 5.0, 100.0):
        assert overdue.due(now) == [("a", 7)]
        overdue.unanswered("a", now)
        assert overdue.due(now + 0.9) == []
    assert not overdue.is_over("a", 7)


def test_what_is_newer_ends_nothing():
    """A renewal that the leader has and the watch has not heard yet ends nothing, nor does an answer to an earlier question."""
    overdue = heard()
    newer = Entry("a", 9, b"y", marker=False)
    assert overdue.found("a", 7, newer, 100.0) is None
    assert overdue.due(100.9) == []
    overdue.heard("a", 12, TTL_S, 1_005.0, 101.0)
    for answer in (None, newer, LEASE):
        assert overdue.found("a", 7, answer, 200.0) is None
    assert overdue.found("a", 12, newer, 200.0) is None
    assert not overdue.is_over("a", 12)


def test_what_is_old_when_a_watch_begins_is_looked_for_at_once():
    """By the time of the newest lease that was told an older one may be due already; told again, it is no younger."""
    overdue = heard()
    overdue.heard("b", 9, TTL_S, 1_004.1, 0.0)
    overdue.begun(0.1)
    assert overdue.due(0.1) == [("a", 7)]
    overdue.heard("a", 7, TTL_S, 1_000.0, 0.2)
    assert overdue.due(0.2) == [("a", 7)]


def test_another_lease_at_the_same_position_is_another():
    """Of a stream that was made anew, or fell back, positions come again: what was stored at another time is not what is over."""
    overdue = heard()
    overdue.found("a", 7, None, 4.0)
    assert overdue.is_over("a", 7, 1_000.0)
    assert not overdue.is_over("a", 7, 1_020.0)
    overdue.heard("a", 7, TTL_S, 1_020.0, 20.0)
    assert not overdue.is_over("a", 7)
    overdue.heard("a", 7, TTL_S, 1_050.0, 50.0)
    assert overdue.found("a", 7, LEASE, 51.0) is None
    assert overdue.due(51.9) == []
    assert overdue.due(52.0) == [("a", 7)]


@pytest.mark.parametrize("count", [OVER_MAX, OVER_MAX + 5])
def test_so_many_are_remembered(count: int):
    """Of very many that are over the oldest are forgotten."""
    overdue = Overdue()
    for number in range(count):
        overdue.heard(str(number), 7, TTL_S, 0.0, 0.0)
        overdue.found(str(number), 7, None, 4.0)
    remembered = [number for number in range(count) if overdue.is_over(str(number), 7)]
    assert remembered == [*range(count - OVER_MAX, count)]
