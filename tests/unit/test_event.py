"""`Event`, `NewEvent` and `Snapshot`: frozen values that hold what went in."""

from __future__ import annotations

import copy
import datetime as dt
import pickle
import time

import pytest
from example_events import AT, AT_NS, DATA, EVENTS, ID, METADATA, VALUES, draft, event, snapshot

from aether import Event, NewEvent, Snapshot, codec


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


def test_draft_of_an_event():
    """The draft of an event equals the new event with the same fields."""
    assert event()._draft() == draft()
    assert event(version=9, actor_id="other")._draft() == draft()
