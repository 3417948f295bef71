"""What the fields of an event may hold: metadata, timestamps, versions and names; and how anything else is refused."""

from __future__ import annotations

import datetime as dt
import pickle
import types
import uuid

import pytest
from example_events import AT, EVENTS, ID, VALUES, draft, event, snapshot

from aether import EncodeError, Event, InvalidIdError, NewEvent, Snapshot


@EVENTS
def test_metadata_is_copied(make):
    """Metadata is copied when the event is made and at each access."""
    given = {"k": "v"}
    made = make(metadata=given)
    given["k"] = "changed"
    made.metadata["k"] = "changed"
    assert made.metadata == {"k": "v"}


@EVENTS
def test_metadata_is_any_mapping_in_any_order(make):
    """Metadata may be any mapping; the order of its keys does not count."""
    assert make(metadata=types.MappingProxyType({"b": "2", "a": "1"})) == make(metadata={"a": "1", "b": "2"})
    assert list(make(metadata={"b": "2", "a": "1"}).metadata) == ["a", "b"]
    assert make(metadata={}) == make(metadata=None)


@EVENTS
@pytest.mark.parametrize(
    ("metadata", "error", "reason"),
    [
        ({"k": 1}, EncodeError, r"metadata\['k'\]: metadata maps str to str"),
        ({1: "v"}, EncodeError, r"metadata\[1\]: metadata maps str to str"),
        ({"k": None}, EncodeError, r"metadata\['k'\]"),
        ({"k": "\ud800"}, EncodeError, r"metadata\['k'\]: a str with a lone surrogate"),
        ({"\ud800": "v"}, EncodeError, "lone surrogate"),
        ({"k": "v" * 65_536}, EncodeError, "the limit is 65536; put it into data"),
        ([("k", "v")], TypeError, "must be a mapping of str to str, not list"),
        ("k", TypeError, "not str"),
    ],
)
def test_metadata_refused(make, metadata, error, reason):
    """Metadata that is not str to str, or too much of it, is refused with the key."""
    with pytest.raises(error, match=reason):
        make(metadata=metadata)


class Pairs(dict):
    """A mapping that says a key twice."""

    def items(self):
        """Say so."""
        return [("k", "1"), ("k", "2")]


def test_metadata_with_a_key_twice():
    """A mapping whose items name a key twice is refused."""
    with pytest.raises(ValueError, match="a key twice"):
        event(metadata=Pairs())


def test_metadata_is_added_to_a_draft():
    """A draft with further metadata is the same event otherwise, to the nanosecond; what is added wins, and the draft stays."""
    draft = NewEvent("t", {"n": 1}, id="x", metadata={"a": "1", "b": "2"})
    added = draft.with_metadata({"b": "3", "c": "4"})
    assert added.metadata == {"a": "1", "b": "3", "c": "4"}
    assert draft.metadata == {"a": "1", "b": "2"}
    assert (added.id, added.time_ns, added.payload, added.event_type) == (
        draft.id,
        draft.time_ns,
        draft.payload,
        draft.event_type,
    )
    assert draft.with_metadata({}) == draft


@pytest.mark.parametrize(("entries", "error"), [(None, TypeError), ({"a": 1}, EncodeError), ({"a": "x" * 65_536}, EncodeError)])
def test_metadata_that_is_added_is_checked(entries, error):
    """What metadata may not hold is refused when it is added, too."""
    with pytest.raises(error):
        NewEvent("t").with_metadata(entries)


TOO_EARLY = dt.datetime(1677, 9, 21, 0, 12, 43, 145_224, tzinfo=dt.UTC)
TOO_LATE = dt.datetime(2262, 4, 11, 23, 47, 16, 854_776, tzinfo=dt.UTC)
TICK = dt.timedelta(microseconds=1)


@VALUES
@pytest.mark.parametrize(
    "moment", [AT, TOO_EARLY + 2 * TICK, TOO_LATE - TICK, dt.datetime(1969, 12, 31, 23, 59, 59, 999_999, dt.UTC)]
)
def test_timestamps(make, moment):
    """An aware timestamp within 64 bits of nanoseconds comes back to the microsecond, in UTC."""
    made = make(timestamp=moment.astimezone(dt.timezone(dt.timedelta(hours=-9, minutes=-30))))
    assert made.timestamp == moment
    assert made.timestamp.tzinfo is dt.UTC
    assert made.time_ns == (moment - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)) // TICK * 1000


@VALUES
@pytest.mark.parametrize(
    ("moment", "error", "reason"),
    [
        (dt.datetime(2026, 1, 1), ValueError, "naive datetime"),  # noqa: DTZ001 - that is the point
        (TOO_EARLY, ValueError, "1677 to 2262"),
        (TOO_LATE, ValueError, "1677 to 2262"),
        (dt.datetime.max.replace(tzinfo=dt.UTC), ValueError, "1677 to 2262"),
        (dt.date(2026, 1, 1), TypeError, "not date"),
        (1_795_536_421, TypeError, "not int"),
        ("2026-01-01T00:00:00Z", TypeError, "not str"),
    ],
)
def test_timestamps_refused(make, moment, error, reason):
    """A timestamp that is naive, out of range or no datetime is refused with the reason."""
    with pytest.raises(error, match=reason):
        make(timestamp=moment)


@pytest.mark.parametrize("version", [1, 2, 2**32, 2**63 - 1, 2**63, 2**64 - 1])
def test_versions(version):
    """A version is any number from 1 to 2**64 - 1."""
    assert event(version=version).version == snapshot(version=version).version == version


@pytest.mark.parametrize("make", [event, snapshot])
@pytest.mark.parametrize(
    ("version", "error"),
    [
        (0, ValueError),
        (-1, ValueError),
        (2**64, ValueError),
        pytest.param(10**10_000, ValueError, id="huge"),
        (1.0, TypeError),
        ("1", TypeError),
        (True, TypeError),
    ],
)
def test_versions_refused(make, version, error):
    """Anything else is refused, a bool too: it is more likely a slip than a version."""
    with pytest.raises(error, match="version must be"):
        make(version=version)


NAMES = ["a", " ", "*", ">", "a.b", "$JS", "\0", "\n", "\u202e", "日" * 85, "é" * 127, "x" * 255, "=41", "/", "\ufeff", "🙂" * 63]


@pytest.mark.parametrize("name", NAMES)
def test_names(name):
    """Any string of 1 to 255 UTF-8 bytes is an actor id, an event type and an event id."""
    made = Event(name, name, 1, id=name)
    assert (made.actor_id, made.event_type, made.id) == (name, name, name)
    assert Snapshot(name, 1, None).actor_id == name
    assert pickle.loads(pickle.dumps(made)) == made


@pytest.mark.parametrize(
    ("name", "reason"), [("", "empty"), ("x" * 256, "longer"), ("é" * 128, "longer"), ("a\ud800", "surrogate")]
)
def test_names_refused(name, reason):
    """Only empty, longer and unencodable names are refused, with which name it is."""
    for what, make in {
        "actor_id": lambda: event(actor_id=name),
        "event_type": lambda: draft(event_type=name),
        "id": lambda: event(id=name),
    }.items():
        with pytest.raises(InvalidIdError, match=reason) as caught:
            make()
        assert caught.value.what == what
    with pytest.raises(InvalidIdError, match=reason):
        snapshot(actor_id=name)


@pytest.mark.parametrize("name", [None, b"a", 5, uuid.UUID(ID)])
def test_names_are_text(name):
    """An actor id and an event type are str and nothing else."""
    for make in (lambda: event(actor_id=name), lambda: event(event_type=name), lambda: snapshot(actor_id=name)):
        with pytest.raises(TypeError):
            make()
