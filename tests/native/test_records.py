"""`Records`: a chunk of lines on its way into a pipeline. What a line is, tests/unit/test_import_quick.py asks."""

from __future__ import annotations

import json

import pytest

from aether import InvalidIdError
from aether._native import HeadCache, NewEvent, Pending, Records

COMMIT_BYTES_MAX = 2**20


def line(event_id: str, **changes: object) -> bytes:
    """Return a record as a line."""
    fields = {"id": event_id, "actor_id": "a", "event_type": "T", "timestamp": "2013-01-01T10:17:00Z", "data": 0}
    return json.dumps({**fields, **changes}).encode() + b"\n"


def pending(room: int) -> Pending:
    """Return bookkeeping with room for so many events."""
    bounds = {"pending_bytes_max": 2**20, "in_flight_max": 5, "in_flight_bytes_max": 2**20, "commit_events_max": 100}
    return Pending("n", "S", HeadCache(10), pending_max=room, **bounds)


def test_records_go_into_a_pipeline_as_far_as_there_is_room() -> None:
    """What does not fit stays, in order, and its first number is known."""
    records = Records(line("x") + b"\n" + line("y") + line("z"), 5, COMMIT_BYTES_MAX)
    assert (len(records), records.number, records.first) == (0, 0, None)
    assert records.read()
    assert (len(records), records.number, records.first, records.odd()) == (3, 8, 5, None)
    into = pending(room=2)
    assert records.pour(into) == 2
    assert (len(records), records.first, into.counts()[0]) == (1, 8, 2)
    assert records.pour(into) == 0
    assert not records.read()


def test_reading_stops_at_a_line_that_has_to_be_judged_and_goes_on_behind_it() -> None:
    """It is given once, with its bytes; what it is judged to be takes its place in the order."""
    odd = line("y", timestamp="20130101T101700Z")
    records = Records(line("x") + odd + line("z"), 1, COMMIT_BYTES_MAX)
    assert records.read()
    assert (len(records), records.odd(), records.odd()) == (1, (2, odd.rstrip()), None)
    records.add(2, "a", NewEvent("T", id="y"), None)
    assert records.read()
    assert (len(records), records.number, records.odd()) == (3, 3, None)
    with pytest.raises(InvalidIdError):
        records.add(4, "", NewEvent("T"), None)
    into = pending(room=9)
    assert records.pour(into) == 3
    dropped = into.drop_queued()
    assert [(pair[0], pair[1].id, tag) for pair, tag in dropped] == [("a", "x", 1), ("a", "y", 2), ("a", "z", 3)]
    assert into.settled_tag() == 3


def test_a_record_with_a_version_is_an_event_with_a_version() -> None:
    """A draft is numbered by the pipeline, an event is not."""
    records = Records(line("x", version=7) + line("y"), 1, COMMIT_BYTES_MAX)
    assert records.read()
    records.add(3, "b", NewEvent("T", id="z"), 9)
    into = pending(room=9)
    records.pour(into)
    kinds = [(type(event).__name__, getattr(event, "version", None)) for event, _ in into.drop_queued()]
    assert sorted(kinds, key=str) == [("Event", 7), ("Event", 9), ("tuple", None)]


def test_records_can_be_gone_through_one_by_one() -> None:
    """A record comes with its parts, another line with its bytes, blank ones not at all."""
    records = Records(line("x", version=7) + b" \n" + b"odd", 1, COMMIT_BYTES_MAX)
    (number, actor_id, event, version, size), odd = records
    assert (number, actor_id, event.id, version, odd) == (1, "a", "x", 7, (3, b"odd"))
    assert size > len(event.payload)


def test_a_chunk_of_nothing_has_nothing() -> None:
    """Neither does one of blank lines."""
    for content in (b"", b"\n \n\t\r\n"):
        records = Records(content, 1, COMMIT_BYTES_MAX)
        assert (records.read(), len(records), list(records)) == (False, 0, [])
