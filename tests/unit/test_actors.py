# ruff: noqa: D102 - what `apply` and `handle` do is said by `Behaviour`
"""An actor as pure code: deciding, remembering commands, snapshots."""

from __future__ import annotations

import dataclasses

import pytest

from aether import Event, NewEvent, Snapshot, codec
from aether.cluster.actors import REPLY_BYTES_MAX, Actor, RefusedError, UnfitSnapshotError, reply_of


class Account:
    """A balance, by deposits."""

    initial = 0

    def apply(self, state, event):
        if event.data < 0:
            raise ArithmeticError("negative")
        return state + event.data

    def handle(self, state, command):
        if command == "balance":
            return None, state
        if command == 0:
            raise ValueError("nothing to deposit")
        return NewEvent("Deposited", command), state + command


class Returning:
    """An actor that returns whatever it is told to."""

    initial = None

    def __init__(self, returned):
        self.returned = returned

    def apply(self, state, event):
        return event.data

    def handle(self, state, command):
        return self.returned


def done(actor: Actor, command_id: str, command: object) -> list[Event]:
    """Have a command done, as if its events were stored."""
    decision = actor.decide(command_id, command)
    if decision.events:
        actor.accept(decision, command_id)
    return decision.events


def test_a_command_is_decided_and_remembered():
    """A command's events carry its id, its last one the reply, and both come back when they are folded."""
    actor = Actor("a", Account(), 1000)
    decision = actor.decide("c-1", 5)
    assert (actor.is_ahead, actor.commands, actor.version) == (True, {}, 0)
    actor.accept(decision, "c-1")
    assert (actor.is_ahead, actor.state, actor.version, actor.commands) == (False, 5, 1, {"c-1": 1})
    assert codec.decode(decision.reply) == 5
    [event] = decision.events
    assert (event.actor_id, event.version, event.event_type, event.command_id) == ("a", 1, "Deposited", "c-1")
    assert codec.decode(reply_of(event)) == 5
    loaded = Actor("a", Account(), 1000)
    loaded.fold(decision.events)
    assert (loaded.state, loaded.version, loaded.commands) == (5, 1, {"c-1": 1})


def test_a_question_leaves_no_trace():
    """A command without events has a reply and is not remembered."""
    actor = Actor("a", Account(), 1000)
    decision = actor.decide("c-1", "balance")
    assert (decision.events, codec.decode(decision.reply), actor.commands, actor.is_ahead) == ([], 0, {}, False)


def test_the_last_commands_are_remembered_and_no_more():
    """Of many commands the last ones are remembered, in the order in which they were done, loaded or not."""
    actor, events = Actor("a", Account(), 3), []
    for number in range(10):
        events += done(actor, f"c-{number}", 1)
    assert list(actor.commands.items()) == [("c-7", 8), ("c-8", 9), ("c-9", 10)]
    loaded = Actor("a", Account(), 3)
    loaded.fold(events)
    assert loaded.commands == actor.commands


def test_a_refused_command_changes_nothing():
    """What `handle` raises is a refusal, and the actor is as it was."""
    actor = Actor("a", Account(), 1000)
    with pytest.raises(RefusedError) as refused:
        actor.decide("c-1", 0)
    assert (type(refused.value.error), actor.state, actor.is_ahead, actor.commands) == (ValueError, 0, False, {})


def test_an_event_that_apply_refuses_is_never_stored():
    """What `apply` raises on a new event is a refusal before anything is stored, and the actor has to be loaded anew."""
    actor = Actor("a", Account(), 1000)
    with pytest.raises(RefusedError) as refused:
        actor.decide("c-1", -1)
    assert (type(refused.value.error), actor.is_ahead, actor.version) == (ArithmeticError, True, 0)


@pytest.mark.parametrize(
    ("returned", "types", "reply"),
    [
        (None, [], None),
        ([], [], None),
        (NewEvent("T"), ["T"], None),
        ([NewEvent("T"), NewEvent("U")], ["T", "U"], None),
        ((None, 7), [], 7),
        ((NewEvent("T"), {"a": [1]}), ["T"], {"a": [1]}),
        (([NewEvent("T"), NewEvent("U")], "x"), ["T", "U"], "x"),
    ],
)
def test_what_handle_may_return(returned, types, reply):
    """Events are one, a list or None, alone or in a pair with a reply."""
    decision = Actor("a", Returning(returned), 1000).decide("c-1", None)
    assert [event.event_type for event in decision.events] == types
    assert codec.decode(decision.reply) == reply
    assert all(event.command_id == "c-1" for event in decision.events)
    if types:
        assert codec.decode(reply_of(decision.events[-1])) == reply
        assert [event.metadata.get("command_reply") for event in decision.events[:-1]] == [None] * (len(types) - 1)


@pytest.mark.parametrize(
    ("returned", "error"),
    [
        (7, TypeError),
        ("T", TypeError),
        ([1], TypeError),
        ((NewEvent("T"), NewEvent("U"), 1), TypeError),
        ((NewEvent("T"), NewEvent("U")), ValueError),
        ((NewEvent("T"), {1, 2}), ValueError),
        ((NewEvent("T"), b"x" * REPLY_BYTES_MAX), ValueError),
        (NewEvent("T", metadata={"command_id": "x"}), ValueError),
        (NewEvent("T", metadata={"x": "x" * 65_530}), ValueError),
        (Event("a", "T", 1), TypeError),
    ],
)
def test_what_handle_may_not_return(returned, error):
    """Anything else, a reply that cannot be stored and metadata that are the host's are refusals that change nothing."""
    actor = Actor("a", Returning(returned), 1000)
    with pytest.raises(RefusedError) as refused:
        actor.decide("c-1", None)
    assert isinstance(refused.value.error, error)
    assert (actor.is_ahead, actor.version) == (False, 0)


def test_a_large_reply_to_a_question_is_allowed():
    """Only replies that are stored are bounded here."""
    assert len(Actor("a", Returning((None, b"x" * 500_000)), 1000).decide("c-1", None).reply) > 500_000


def test_an_initial_state_that_is_changed_in_place_stays_with_its_actor():
    """Each actor begins from a copy of `initial`."""

    class Listing(Returning):
        initial: list[int] = []  # noqa: RUF012 - what a careless user writes

        def apply(self, state, event):
            state.append(event.data)
            return state

    done(Actor("a", Listing(NewEvent("T", 1)), 1000), "c", None)
    assert Actor("b", Listing(None), 1000).state == []


def test_what_is_no_reply_is_told():
    """A reply in the metadata that is no Base64 is an error and not a wrong reply."""
    with pytest.raises(ValueError, match="no Base64"):
        reply_of(Event("a", "T", 1, metadata={"command_reply": "é"}))


# Snapshots.


def snapshot_of(behaviour, *commands, remembered=1000) -> tuple[Actor, Snapshot | None]:
    """Have commands done; return the actor and its snapshot."""
    actor = Actor("a", behaviour, remembered)
    for number, command in enumerate(commands):
        done(actor, f"c-{number}", command)
    return actor, actor.snapshot()


def test_a_snapshot_carries_state_and_commands():
    """An actor that begins from a snapshot is the one that it was taken of, and its commands go on in order."""
    actor, snapshot = snapshot_of(Account(), 1, 2, 3)
    assert snapshot is not None
    loaded = Actor("a", Account(), 1000)
    loaded.restore(snapshot)
    assert (loaded.state, loaded.version, list(loaded.commands.items())) == (6, 3, list(actor.commands.items()))
    fewer = Actor("a", Account(), 2)
    fewer.restore(snapshot)
    assert list(fewer.commands) == ["c-1", "c-2"]


@dataclasses.dataclass(frozen=True)
class Point:
    """A state that is no plain data."""

    x: int = 0
    y: int = 0


class Mover:
    """An actor whose state is a dataclass."""

    initial = Point()

    def apply(self, state, event):
        return Point(*event.data)

    def handle(self, state, command):
        return NewEvent("Moved", command)


def test_a_snapshot_of_a_dataclass_comes_back_as_one():
    """A state of the type of `initial` needs no encode and decode."""
    actor, snapshot = snapshot_of(Mover(), [1, 2])
    assert snapshot is not None
    assert snapshot.state["state"] == {"x": 1, "y": 2}
    loaded = Actor("a", Mover(), 1000)
    loaded.restore(snapshot)
    assert loaded.state == actor.state == Point(1, 2)


class Tupled(Mover):
    """An actor whose state plain data cannot hold the same."""

    initial = (0, 0)

    def apply(self, state, event):
        return tuple(event.data)


class Encoded(Tupled):
    """The same, with its own way to plain data and back."""

    def encode(self, state):
        return {"x": state[0], "y": state[1]}

    def decode(self, plain):
        return plain["x"], plain["y"]


def test_a_state_that_would_come_back_otherwise_gets_no_snapshot(caplog):
    """A tuple would come back as a list, so there is no snapshot, and the log says what to do; encode and decode are it."""
    assert snapshot_of(Tupled(), [1, 2])[1] is None
    assert "give the behaviour encode() and decode()" in caplog.text
    assert snapshot_of(Returning(NewEvent("T", {"x": 1})), 1)[1] is not None
    _, snapshot = snapshot_of(Encoded(), [1, 2])
    assert snapshot is not None
    loaded = Actor("a", Encoded(), 1000)
    loaded.restore(snapshot)
    assert loaded.state == (1, 2)


def test_a_state_that_cannot_be_stored_gets_no_snapshot(caplog):
    """A state that is not plain data has no snapshot, and the log says what to do."""

    class Setting(Returning):
        def apply(self, state, event):
            return {event.data}

    assert snapshot_of(Setting(NewEvent("T", 1)), 1)[1] is None
    assert "a set; store sorted(value), a list; give the behaviour encode() and decode()" in caplog.text


@pytest.mark.parametrize(
    "state",
    [
        None,
        7,
        {"aether-actor": 2},
        {"aether-actor": 1},
        {"aether-actor": 1, "state": 1, "remembered": 1000, "commands": [["c"]]},
        {"aether-actor": 1, "state": 1, "remembered": "x", "commands": []},
        {"aether-actor": 1, "state": 1, "remembered": 2, "commands": [["c", 1], ["d", 2]]},
        {"aether-actor": 1, "state": 1, "remembered": 1000, "commands": [["c", -1]]},
        {"aether-actor": 1, "state": 1, "remembered": 1000, "commands": [["c", 3]]},
    ],
)
def test_a_snapshot_that_does_not_fit_is_refused(state):
    """A snapshot of somebody else, damaged, or with fewer commands than are wanted, changes nothing."""
    actor = Actor("a", Account(), 1000)
    with pytest.raises(UnfitSnapshotError):
        actor.restore(Snapshot("a", 2, state))
    assert (actor.state, actor.version, actor.commands) == (0, 0, {})


def test_a_snapshot_whose_state_does_not_decode_is_refused():
    """What the actor's own `decode` raises means that the snapshot is not used."""
    actor = Actor("a", Encoded(), 1000)
    with pytest.raises(UnfitSnapshotError, match="KeyError: 'x'"):
        actor.restore(Snapshot("a", 2, {"aether-actor": 1, "state": {}, "remembered": 1000, "commands": []}))
