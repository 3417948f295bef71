"""`Event` as rust/bindings/lean.rs makes it: called like CPython's own classes, unknown to the garbage collector."""

from __future__ import annotations

import gc
import sys
import weakref
from uuid import UUID

import pytest

from aether import Event, InMemoryEventStore, InvalidIdError

ARGUMENTS = {"actor_id": "a", "event_type": "T", "version": 3, "data": {"n": 1}}


@pytest.mark.parametrize("places", range(5))
def test_every_mix_of_places_and_names_makes_the_same_event(places):
    """Arguments mean the same by place and by name, in any mix."""
    values = list(ARGUMENTS.items())
    event = Event(*[value for _, value in values[:places]], **dict(values[places:]), id="x")
    plain = Event(*[value for _, value in values[:places]], **dict(values[places:]))
    assert (event.actor_id, event.event_type, event.version, event.data, event.id) == ("a", "T", 3, {"n": 1}, "x")
    assert (plain.actor_id, plain.event_type, plain.version, plain.data) == ("a", "T", 3, {"n": 1})
    assert UUID(plain.id).version == 7


@pytest.mark.parametrize("data", [(), (None,)])
def test_no_data_is_none(data):
    """Data that is not given is None, as data that is."""
    assert Event("a", "T", 1, *data).data is None


@pytest.mark.parametrize(
    ("places", "names", "error", "words"),
    [
        ((), {}, TypeError, "actor_id"),
        (("a", "T"), {}, TypeError, "version"),
        (("a", "T", 1, None, 5), {}, TypeError, "positional"),
        ((1, "T", 1), {}, TypeError, "'int' object"),
        (("a", b"T", 1), {}, TypeError, "'bytes' object"),
        (("a", "T", "1"), {}, TypeError, "version must be an int"),
        (("a", "T", 1), {"nope": 1}, TypeError, "nope"),
        (("a", "T", 1), {"version": 2}, TypeError, "version"),
        (("", "T", 1), {}, InvalidIdError, "actor_id"),
        (("a", "T", 0), {}, ValueError, "version must be from 1"),
    ],
)
def test_wrong_calls_are_refused_in_words(places, names, error, words):
    """A wrong call is refused by the fitting error, whatever way its arguments come."""
    with pytest.raises(error, match=words):
        Event(*places, **names)


@pytest.mark.skipif(not getattr(sys, "_is_gil_enabled", lambda: True)(), reason="without GIL the class stays as pyo3 makes it")
def test_the_collector_does_not_know_events():
    """Millions of events cost the garbage collector nothing: it does not track them."""
    assert not gc.is_tracked(Event("a", "T", 1))
    assert not gc.is_tracked(Event(actor_id="a", event_type="T", version=1))


async def test_every_event_lets_go_of_its_class_when_it_ends():
    """However an event was made, its end leaves the class with as many references as before."""
    store = InMemoryEventStore()
    for version in range(1, 101):
        await store.save_event(Event("a", "T", version, {"version": version}))
    before = sys.getrefcount(Event)
    for _ in range(10):
        Event("a", "T", 1, {"n": 1})
        Event("a", "T", version=1, id="x")
        assert len(await store.get_events("a")) == 100
        with pytest.raises(ValueError, match="version"):
            Event("a", "T", 0)
    assert sys.getrefcount(Event) == before


def test_a_class_of_native_values_cannot_be_derived_from():
    """Nobody inherits what the class does to its objects."""
    with pytest.raises(TypeError):
        type("Derived", (Event,), {})
    with pytest.raises(TypeError):
        weakref.ref(Event("a", "T", 1))
