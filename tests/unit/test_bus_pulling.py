"""How `publish_many` cuts what it is given: cheap chunks, and nothing late."""

from __future__ import annotations

import time

import pytest

from aether.bus.pulling import chunks
from aether.testing.bus_contract_base import events


@pytest.mark.parametrize("count", [0, 1, 9, 10, 11, 25])
@pytest.mark.parametrize("shape", [list, tuple, iter])
def test_chunks_are_all_in_order(count, shape):
    """All events come out in order, in chunks of at most the size asked for, none of them empty."""
    given = events("a", range(1, count + 1))
    found = list(chunks(shape(given), 10))
    assert [event for chunk in found for event in chunk] == given
    assert all(0 < len(chunk) <= 10 for chunk in found)


def test_a_slow_source_is_not_waited_for():
    """What a slow source gives goes out as it comes, long before a chunk is full."""

    def slow():
        for event in events("a", range(1, 5)):
            time.sleep(0.006)
            yield event

    assert len(list(chunks(slow(), 1000))) >= 4


def test_an_endless_source_is_pulled_as_needed():
    """Of an endless source no more is pulled than was asked for."""
    pulled = 0

    def endless():
        nonlocal pulled
        while True:
            pulled += 1
            yield events("a", [pulled])[0]

    source = chunks(endless(), 100)
    assert 0 < len(next(source)) <= 100
    assert pulled <= 100


def test_what_is_no_source_is_refused():
    """One event, or nothing that can be iterated, is a TypeError."""
    with pytest.raises(TypeError, match="publish takes one"):
        next(chunks(events("a", [1])[0], 10))
    with pytest.raises(TypeError, match="not iterable"):
        next(chunks(5, 10))
