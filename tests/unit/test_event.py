"""`Event`, `NewEvent` and `Snapshot`: frozen values that hold what went in."""

from __future__ import annotations

import copy
import datetime as dt
import pickle
import time
import types
import uuid

import pytest

from aether import EncodeError, Event, InvalidIdError, NewEvent, Snapshot, codec

AT = dt.datetime(2026, 11, 24, 16, 7, 1, 123_456, tzinfo=dt.UTC)
AT_NS = 1_795_536_421_123_456_000
ID = "59679dbb-4e81-5039-952e-0842fb6bc8bf"
METADATA = {"correlation_id": "c", "causation_id": "é", "command_id": "", "zz": "日本"}
DATA = {"total": 9999, "items": [{"sku": "pen", "price": 1.5}], "note": None, "raw": b"\0\xff", "at": AT}


def event(**changed) -> Event:
    """An event with every field given."""
    given = {"actor_id": "order-1", "event_type": "OrderPlaced", "version": 3, "data": DATA, "id": ID}
    return Event(**{**given, "timestamp": AT, "metadata": METADATA, **changed})


def draft(**changed) -> NewEvent:
    """A new event with every field given."""
    return NewEvent(**{"event_type": "OrderPlaced", "data": DATA, "id": ID, "timestamp": AT, "metadata": METADATA, **changed})


def snapshot(**changed) -> Snapshot:
    """A snapshot with every field given."""
    return Snapshot(**{"actor_id": "order-1", "version": 3, "state": DATA, "timestamp": AT, **changed})


VALUES = pytest.mark.parametrize("make", [event, draft, snapshot])
EVENTS = pytest.mark.parametrize("make", [event, draft])


def test_fields_are_those_given():
    """Every field of an event, given by keyword, reads as it was given."""
    made = event()
    assert (made.actor_id, made.event_type, made.version, made.id) == ("order-1", "OrderPlaced", 3, ID)
    assert (made.data, made.timestamp, made.time_ns, made.metadata) == (DATA, AT, AT_NS, METADATA)
    assert made.payload == codec.encode(DATA)
    assert (made.correlation_id, made.causation_id, made.command_id) == ("c", "é", "")


def test_fields_of_a_new_event():
    """A new event has the same fields, but for actor and version."""
    made = draft()
    assert (made.event_type, made.id, made.data, made.timestamp, made.time_ns) == ("OrderPlaced", ID, DATA, AT, AT_NS)
    assert (made.metadata, made.payload) == (METADATA, codec.encode(DATA))
    assert (made.correlation_id, made.causation_id, made.command_id) == ("c", "é", "")
    assert not hasattr(made, "version")
    assert not hasattr(made, "actor_id")


def test_fields_of_a_snapshot():
    """Every field of a snapshot, given by keyword, reads as it was given."""
    made = snapshot()
    assert (made.actor_id, made.version, made.state, made.timestamp, made.time_ns) == ("order-1", 3, DATA, AT, AT_NS)
    assert made.payload == codec.encode(DATA)


def test_positional_arguments_and_defaults():
    """Actor, type, version and data may be given by position; the rest has defaults."""
    before = time.time_ns()
    made = Event("a", "t", 1)
    assert before <= made.time_ns <= time.time_ns()
    assert (made.data, made.metadata, made.payload) == (None, {}, b"\xc0")
    assert made.correlation_id is made.causation_id is made.command_id is None
    assert Event("a", "t", 1, 5).data == NewEvent("t", 5).data == Snapshot("a", 1, 5).state == 5
    with pytest.raises(TypeError):
        Event("a", "t", 1, None, ID)


@VALUES
def test_frozen(make):
    """No attribute can be set, changed or deleted, and the class cannot be derived from."""
    made = make()
    for name in ("data", "state", "version", "anything"):
        with pytest.raises(AttributeError):
            setattr(made, name, 1)
    with pytest.raises(AttributeError):
        del made.id
    with pytest.raises(TypeError):
        type("Derived", (type(made),), {})


@VALUES
def test_equal_as_a_whole(make):
    """Two are equal, with equal hashes, if all their fields are; NotImplemented for anything else."""
    assert make() == make()
    assert hash(make()) == hash(make())
    assert len({make(), make()}) == 1
    assert make() != make(timestamp=AT + dt.timedelta(microseconds=1))
    assert make() != 5
    assert make().__eq__(5) is NotImplemented
    with pytest.raises(TypeError):
        assert make() < make()


@pytest.mark.parametrize(
    "changed",
    [
        {"actor_id": "order-2"},
        {"event_type": "OrderPlace"},
        {"version": 4},
        {"data": {**DATA, "total": 1}},
        {"data": {**DATA, "total": 9999.0}},
        {"id": ID[:-1] + "e"},
        {"id": ID.upper()},
        {"timestamp": AT + dt.timedelta(microseconds=1)},
        {"metadata": {**METADATA, "zz": ""}},
        {"metadata": None},
    ],
)
def test_each_field_counts(changed):
    """An event that differs in one field is another event."""
    assert event(**changed) != event()
    assert len({event(**changed), event()}) == 2


def test_fields_do_not_run_into_each_other():
    """Letters moved from one field to the next make another event."""
    assert Event("ab", "c", 1, id="i", timestamp=AT) != Event("a", "bc", 1, id="i", timestamp=AT)
    assert Event("ab", "c", 1, id="i", timestamp=AT) != Event("b", "c", 1, id="ia", timestamp=AT)


@VALUES
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickle(make, protocol):
    """Every pickle protocol gives back an equal value."""
    made = make()
    again = pickle.loads(pickle.dumps(made, protocol))
    assert again == made
    assert repr(again) == repr(made)
    assert again.payload == made.payload
    assert again.time_ns == made.time_ns


@VALUES
def test_copies_are_the_same_object(make):
    """A frozen value needs no copy: copy and deepcopy give it back itself."""
    made = make()
    assert copy.copy(made) is made
    assert copy.deepcopy([made])[0] is made


@EVENTS
@pytest.mark.parametrize("place", range(8))
def test_damaged_pickles_are_refused(make, place):
    """A pickle whose parts are no event's is refused rather than made into one."""
    restore, parts = make().__reduce__()
    bad = [None, "", 0, b"\xc1", "", "now", b"\x81\xa1a\x05", (b"\xa1x\xc0", 2)]
    wrong = list(parts)
    wrong[place] = bad[place]
    if make is draft and place in (0, 2):
        assert restore(*wrong) == make()
        return
    with pytest.raises((TypeError, ValueError)):
        restore(*wrong)


@pytest.mark.parametrize("extra", [(b"\xa1x\xc0\xc0", 1), (b"\x01\xc0", 1), (b"\xa2id\xc0", 1), (b"\xc1", 1)])
def test_damaged_unknown_keys_in_a_pickle_are_refused(extra):
    """Unknown keys of a pickle that no message could have had are refused."""
    restore, parts = event().__reduce__()
    with pytest.raises(ValueError, match="damaged"):
        restore(*parts[:-1], extra)


def test_repr():
    """The repr shows what tells events apart, and cuts long data."""
    assert repr(Event("it's", "t", 1, {"a": [1]}, id="i")) == "Event(\"it's\", 't', 1, {'a': [1]}, id='i')"
    assert repr(NewEvent("t", "é", id="i")) == "NewEvent('t', 'é', id='i')"
    assert repr(Snapshot("a", 2, {"k": 1})) == "Snapshot('a', 2, <4 bytes>)"
    shown = repr(Event("a", "t", 1, ["x" * 50] * 1000, id="i"))
    assert shown.endswith("..., id='i')")
    assert len(shown) < 300


@VALUES
def test_data_is_encoded_once(make):
    """What the caller changes later, in what it gave or in what it got, is not seen."""
    items = ["pen"]
    made = make(**{"state" if make is snapshot else "data": {"items": items}})
    items.append("ink")
    read = made.state if make is snapshot else made.data
    read["items"].append("paper")
    assert (made.state if make is snapshot else made.data) == {"items": ["pen"]}
    assert codec.decode(made.payload) == {"items": ["pen"]}


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


def test_draft_of_an_event():
    """The draft of an event equals the new event with the same fields."""
    assert event()._draft() == draft()
    assert event(version=9, actor_id="other")._draft() == draft()


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
