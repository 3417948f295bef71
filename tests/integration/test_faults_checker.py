"""The checker of the fault tests is checked: each bug that it is for is planted, and seen."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import pytest
from faults.dump import Stored, sealed
from faults.history import History, Read, Write, violations

if TYPE_CHECKING:
    from collections.abc import Callable


def stored(position: int, version: int, event_id: str) -> Stored:
    """A message of one event of the actor."""
    event = {"id": event_id, "type": "t", "version": version, "time": 0, "data": None, "meta": {}}
    return Stored(position, "aether.n.1.a", sealed({"format": 1, "actor": "a", "events": [event], "spine": []}))


LOG = [stored(10, 1, "one"), stored(20, 2, "two"), stored(30, 3, "three")]
HISTORY = History(
    writes=[
        Write("a", "one", "acked", 1, 10),
        Write("a", "two", "acked", 2, 20),
        Write("a", "rival", "refused", 2, actual=2),
        Write("a", "three", "unknown", 3),
        Write("a", "lost", "unknown", 4),
        Write("a", "never", "failed", 4),
    ],
    reads=[Read("a", (), frozenset()), Read("a", ((1, "one"), (2, "two")), frozenset({"one"}))],
)


def told(*writes: Write) -> History:
    """The history with further writes."""
    return dataclasses.replace(HISTORY, writes=[*HISTORY.writes, *writes])


def read(*reads: Read) -> History:
    """The history with further reads."""
    return dataclasses.replace(HISTORY, reads=[*HISTORY.reads, *reads])


def test_a_sound_history_has_no_violation() -> None:
    """What is as promised passes, unknown outcomes included, stored or not."""
    assert violations(HISTORY, LOG, contiguous=True) == []


PLANTED: dict[str, tuple[Callable[[], tuple[History, list[Stored]]], str]] = {
    "lost ack": (lambda: (told(Write("a", "four", "acked", 4, 40)), LOG), "acked four as 4 at 40, stored: []"),
    "ack names another place": (lambda: (told(Write("a", "three", "acked", 3, 31)), LOG), "acked three as 3 at 31"),
    "double effect": (lambda: (HISTORY, [*LOG, stored(40, 4, "two")]), "two is stored twice"),
    "same version twice": (lambda: (told(Write("a", "x", "unknown")), [*LOG, stored(40, 3, "x")]), "do not strictly increase"),
    "gap": (lambda: (told(Write("a", "x", "unknown")), [*LOG, stored(40, 5, "x")]), "have a gap"),
    "two winners": (lambda: (told(Write("a", "x", "acked", 2, 20)), LOG), "version 2 has 2 winners"),
    "refused and stored": (lambda: (HISTORY, [*LOG, stored(40, 4, "rival")]), "rival is stored, and its callers were told {'ref"),
    "failed and stored": (lambda: (HISTORY, [*LOG, stored(40, 4, "never")]), "never is stored, and its callers were told {'fai"),
    "invented": (lambda: (HISTORY, [*LOG, stored(40, 4, "ghost")]), "ghost is stored, and its callers were told nothing"),
    "refused for nothing": (lambda: (told(Write("a", "x", "refused", 2, actual=9)), LOG), "version 9, which was never there"),
    "read skips": (lambda: (read(Read("a", ((1, "one"), (3, "three")), frozenset())), LOG), "no prefix of the log"),
    "read too short": (lambda: (read(Read("a", ((1, "one"),), frozenset({"two"}))), LOG), "not in it: ['two']"),
}


@pytest.mark.parametrize("bug", PLANTED)
def test_the_checker_sees_planted_bugs(bug: str) -> None:
    """Each promise that the checker is for, broken, is named."""
    make, sentence = PLANTED[bug]
    found = violations(*make(), contiguous=True)
    assert any(sentence in violation for violation in found), found


def test_gaps_are_allowed_where_versions_are_given() -> None:
    """Without `contiguous` a gap is none of the checker's business."""
    log = [LOG[0], stored(20, 7, "two")]
    history = History(writes=[Write("a", "one", "acked", 1, 10), Write("a", "two", "acked", 7, 20)])
    assert violations(history, log, contiguous=False) == []
