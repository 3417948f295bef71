"""What becomes of an actor's records."""

from __future__ import annotations

import pytest

from aether import Event, NewEvent
from aether.ingest.plan import Holdings, make_plan
from aether.ingest.records import Record

EPOCH = Event("a", "T", 1, 0).timestamp


def draft(event_id: str, data: object = 0) -> NewEvent:
    """Return an event that depends on its arguments only."""
    return NewEvent("T", data, id=event_id, timestamp=EPOCH)


def record(event_id: str, data: object = 0, version: int | None = None, line: int = 1) -> Record:
    """Return a record of the actor "a"."""
    return Record(line, "a", draft(event_id, data), event_id, version, 100)


def holdings(*events: tuple[str, int]) -> Holdings:
    """Return what an actor holds that has these ids at these versions."""
    held = Holdings()
    held.add([Event("a", "T", version, 0, id=event_id, timestamp=EPOCH) for event_id, version in events])
    return held


def planned(*records: Record, held: Holdings) -> tuple[list[tuple[str, int]], int, list[int]]:
    """Return the ids and versions to store, how many are there already, and the lines in conflict."""
    plan = make_plan("a", held, records)
    assert [item.event_id for item in plan.records] == [event.id for event in plan.events]
    return [(event.id, event.version) for event in plan.events], plan.already_there, [item.line for item in plan.refused]


def test_new_records_are_numbered_behind_what_is_there_in_their_order() -> None:
    """Records without a version get the next ones."""
    assert planned(record("x"), record("y"), held=holdings(("o", 3))) == ([("x", 4), ("y", 5)], 0, [])


def test_records_that_the_actor_holds_are_left_out() -> None:
    """An equal id with equal content is no new event, with its version or without."""
    held = holdings(("x", 1), ("y", 2))
    assert planned(record("x"), record("y", version=2), record("z"), held=held) == ([("z", 3)], 2, [])


def test_a_record_that_comes_twice_is_stored_once() -> None:
    """The second of two equal records is recognised before the first is stored."""
    assert planned(record("x"), record("x"), record("x", version=1), held=Holdings()) == ([("x", 1)], 2, [])


@pytest.mark.parametrize("held", [holdings(("x", 1)), Holdings()], ids=["stored", "planned"])
def test_an_equal_id_with_other_content_is_a_conflict(held: Holdings) -> None:
    """Content decides, whether the other one is stored or stands earlier in the input; what follows is stored."""
    events, already_there, conflicts = planned(
        record("x"), record("x", "other", line=2), record("x", version=9, line=3), record("y"), held=held
    )
    assert conflicts == [2, 3]
    assert events[-1] == ("y", 2)
    assert already_there + len(events) == 2


def test_the_conflict_says_what_is_there_and_what_to_do() -> None:
    """A reader of the message knows the id, the actor, the version and the way out."""
    plan = make_plan("a", holdings(("x", 4)), [record("x", "other"), record("x", version=5), record("z", version=4)])
    content, place, passed = (conflict.reason for conflict in plan.refused)
    assert "'x' of 'a' is there already at version 4, with other content" in content
    assert "at version 4, not at 5" in place
    assert "wants version 4 of 'a', which is at 4 with other events; leave the version out" in passed


def test_versions_of_their_own_are_kept_with_their_gaps() -> None:
    """A record with a version keeps it if it is above all before it, and the next one without follows it."""
    records = (record("x", version=5), record("y"), record("z", version=10), record("late", version=9, line=4))
    assert planned(*records, held=holdings(("o", 2))) == ([("x", 5), ("y", 6), ("z", 10)], 0, [4])


def test_behind_the_last_version_there_is_nothing_can_be_stored() -> None:
    """The last version of all is a conflict for what would come next, not a failure."""
    assert planned(record("x", version=2**64 - 1), record("y", line=2), held=Holdings()) == ([("x", 2**64 - 1)], 0, [2])


def test_planning_changes_nothing_it_was_given() -> None:
    """A plan can be thrown away and made again."""
    held = holdings(("o", 1))
    first = make_plan("a", held, [record("x"), record("y")])
    assert (held.version, len(held)) == (1, 1)
    assert make_plan("a", held, [record("x"), record("y")]) == first
