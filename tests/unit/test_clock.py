"""The clock that a test moves."""

from __future__ import annotations

import contextlib
import time
from datetime import UTC, datetime, timedelta, timezone

import pytest

from aether import Event, NewEvent, Snapshot
from aether.testing import Clock

START = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    "make", [lambda: Event("a", "T", 1), lambda: NewEvent("T"), lambda: Snapshot("a", 1, None)], ids=["event", "new", "snapshot"]
)
def test_events_get_its_time(make):
    """What is made inside gets the clock's time by default, to the nanosecond, and what is made outside the real one."""
    with Clock(START) as clock:
        assert make().timestamp == START
        clock.advance(1e-9)
        assert make().time_ns == clock.time_ns() == make().time_ns
        clock.advance(timedelta(hours=1))
        assert make().timestamp == START + timedelta(hours=1)
    assert abs(make().time_ns - time.time_ns()) < 60 * 10**9


def test_a_given_time_is_kept():
    """An explicit timestamp wins over the clock."""
    with Clock(START):
        assert NewEvent("T", timestamp=START - timedelta(days=1)).timestamp == START - timedelta(days=1)


def test_it_stands_still():
    """Nothing but the test moves it."""
    with Clock(START) as clock:
        assert {clock.now() for _ in range(1000)} == {START}
        assert {time.time_ns() for _ in range(1000)} == {clock.time_ns()}
        assert clock.monotonic() == 0.0


@pytest.mark.parametrize(("by", "seconds"), [(0, 0.0), (1.5, 1.5), (3600, 3600.0), (timedelta(milliseconds=1), 0.001)])
def test_both_clocks_advance(by, seconds):
    """Advancing moves wall time and monotonic time alike."""
    clock = Clock(START)
    clock.advance(by)
    assert clock.monotonic() == seconds
    assert clock.now() == START + timedelta(seconds=seconds)


def test_only_the_wall_clock_can_be_set():
    """The wall clock can be turned back, and the monotonic one does not notice."""
    clock = Clock(START)
    clock.advance(10)
    clock.set(START - timedelta(days=1))
    assert clock.now() == START - timedelta(days=1)
    assert clock.monotonic() == 10.0


def test_time_does_not_go_back():
    """Advancing by less than nothing is refused, and nothing moves."""
    clock = Clock(START)
    with pytest.raises(ValueError, match="set"):
        clock.advance(-1)
    assert (clock.now(), clock.monotonic()) == (START, 0.0)


def test_a_moment_has_a_zone():
    """A naive datetime is refused, and an aware one means the same moment in any zone."""
    naive = datetime(2026, 1, 1)  # noqa: DTZ001 - the point of the test
    with pytest.raises(ValueError, match="naive"):
        Clock(naive)
    with pytest.raises(ValueError, match="naive"):
        Clock().set(naive)
    assert Clock(START.astimezone(timezone(timedelta(hours=9)))).now() == START


def test_clocks_nest_and_the_real_one_comes_back():
    """The inner clock rules while it is entered; afterwards the outer one does, then the real one, after errors too."""
    real = time.time_ns
    with contextlib.suppress(KeyError), Clock(START) as outer:
        with Clock(START + timedelta(days=1)) as inner:
            assert time.time_ns() == inner.time_ns()
        assert time.time_ns() == outer.time_ns()
        raise KeyError
    assert time.time_ns is real


def test_one_clock_can_be_entered_again():
    """Entering a clock twice leaves the real time behind in the right order."""
    real = time.time_ns
    clock = Clock(START)
    with clock, clock:
        assert NewEvent("T").timestamp == START
    assert time.time_ns is real


def test_new_ids_stay_in_order_when_time_goes_back():
    """Ids made in this process increase although the wall clock is turned back."""
    with Clock(START) as clock:
        ids = [NewEvent("T").id]
        clock.set(START - timedelta(days=365))
        ids += [NewEvent("T").id for _ in range(100)]
    assert ids == sorted(ids)
    assert len(set(ids)) == 101
