"""Every error: its place in the tree, its facts, its message, and that it survives pickling."""

from __future__ import annotations

import copy
import inspect
import pickle
import re

import pytest

from aether import Event, errors

EXAMPLES: dict[str, tuple[object, ...]] = {
    "InvalidIdError": ("actor_id", "", "is empty; an id has 1 to 255 UTF-8 bytes"),
    "EncodeError": ("data.items[3].price", "a set; store sorted(value), a list"),
    "DecodeError": (17, "the bytes end within a str"),
    "CommitTooLargeError": ("order-1", 2_000_000, 1_048_576),
    "VersionConflictError": ("order-1", 3, 5),
    "VersionsUsedUpError": ("order-1",),
    "IdConflictError": ("order-1", 3, 5, "e-17", "not at 3"),
    "CorruptEventError": ("AETHER-EVENTS-shop", 42, "order-1", "its checksum does not fit"),
    "StoreFullError": ("this store", "max_events=10", "allow more with max_events="),
    "NamespaceMismatchError": ("shop", ("guard mode is 'shard', this store needs 'actor'",), "use another namespace"),
    "NotOwnerError": (17, "node-2"),
    "OutcomeUnknownError": ("order-1", 10.0),
    "CommandUnknownError": ("order-1", 10.0, "c-1"),
    "CommandFailedError": ("order-1", "ValueError", "no such item"),
    "IngestError": ((), 1, 2, 3),
    "DeadlineError": ("reading 'order-1'", 0.5),
    "ServerUnavailableError": ("nats://localhost:4222", "no server answers; type: aether dev"),
    "UnknownFormatError": (8, 2),
    "UnsupportedServerError": ("nats://localhost:4222", "the server is 2.9.0, 2.14.5 or later is needed; upgrade it"),
    "ServerRefusedError": ("AETHER-EVENTS-shop", 10_077, "maximum messages exceeded"),
    "AccessDeniedError": ("nats://localhost:4222", "the user may not publish"),
    "StoreDirectoryInUseError": ("/var/data", 4711),
    "LoopInUseError": ("JetStreamEventStore.append",),
    "MissingExtraError": ("The command line", "cli"),
    "SubscriptionLaggedError": (1_204,),
    "SubscriptionInterruptedError": ("nats://localhost:4222: the connection was lost",),
    "NoSubscriberError": ("PlaceOrder", "order-1"),
    "RequestFailedError": ("ValueError: no such order",),
    "PublishInterruptedError": (12,),
    "NotDrainedError": ("the subscription to everything", 12, 10.0),
    "ShardUnavailableError": (7, "it is being moved to 'n2'", 10.0),
    "NotPublishedError": (42, ()),
    "NotLeaderError": ("host:4711",),
    "ServersUnreachableError": (("nats://b:4222", "nats://c:4222"), "connection refused"),
}

REMEDIES = {
    "CommitTooLargeError": "save fewer events at once",
    "VersionConflictError": "reload its events, decide again and save again",
    "VersionsUsedUpError": "go on with an actor of another id",
    "CorruptEventError": "aether repair",
    "StoreFullError": "allow more with max_events=",
    "NamespaceMismatchError": "use another namespace",
    "NotOwnerError": "send the command to the owner",
    "OutcomeUnknownError": "saving the same event again is safe",
    "CommandUnknownError": "ask again with the same command_id=",
    "DeadlineError": "allow more with timeout_s=",
    "StoreDirectoryInUseError": "connect to that server by its URL",
    "SubscriptionLaggedError": "allow more with max_pending=",
    "SubscriptionInterruptedError": "read from the store what must not be missed",
    "NoSubscriberError": "subscribe a handler that answers it",
    "RequestFailedError": "its own process has logged where",
    "PublishInterruptedError": "save in a store what must not be lost",
    "NotDrainedError": "read or handle them faster",
    "ShardUnavailableError": "try again once it has settled",
    "NotLeaderError": "wait for the next term with election.leadership()",
    "NotPublishedError": "await bus.publish_many(error.events)",
    "ServersUnreachableError": 'ready="server"',
    "LoopInUseError": "asyncio.to_thread",
    "MissingExtraError": 'python3 -m pip install "aether-events[cli]"',
}
"""What the reader can do, where the error itself says it; the others carry it in what they were given."""

NAMES = [name for name in errors.__all__ if name != "AetherError"]


def example(name: str) -> errors.AetherError:
    """Make one."""
    return getattr(errors, name)(*EXAMPLES[name])


def drawn_tree(text: str) -> dict[str, tuple[str, ...]]:
    """Read the tree in a docstring: each class and its bases, the parent first."""
    tree: dict[str, tuple[str, ...]] = {}
    path: list[str] = []
    for line in text.splitlines():
        found = re.match(r"^    (?P<indent>[│ ]*(?:[├└]── )?)(?P<name>[A-Z]\w+Error)(?: \((?P<builtin>\w+)\))?", line)
        if found:
            depth = len(found["indent"]) // 4
            del path[depth:]
            tree[found["name"]] = tuple(filter(None, [*path[-1:], found["builtin"]]))
            path.append(found["name"])
    return tree


def real_tree() -> dict[str, tuple[str, ...]]:
    """Return the same of the classes themselves."""
    classes = [item for item in vars(errors).values() if inspect.isclass(item) and issubclass(item, errors.AetherError)]
    return {item.__name__: tuple(base.__name__ for base in item.__bases__ if base is not Exception) for item in classes}


def test_the_tree_is_drawn_as_it_is():
    """The tree at the top of `aether.errors` has every class, under the class it derives from, with its builtin."""
    assert drawn_tree(errors.__doc__) == real_tree()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("    │   ├── UnsupportedServerError", "    ├── UnsupportedServerError"),
        ("InvalidIdError (ValueError)", "InvalidIdError (TypeError)"),
        ("    ├── StoreFullError ", "    ├── StoreEmptyError "),
    ],
)
def test_a_wrong_drawing_is_noticed(before, after):
    """A tree with a class in the wrong place, of the wrong builtin, or by the wrong name is not the real one."""
    assert before in errors.__doc__
    assert drawn_tree(errors.__doc__.replace(before, after)) != real_tree()


def test_every_error_has_an_example():
    """Every class is listed in `__all__` and tested here."""
    assert set(real_tree()) == set(errors.__all__)
    assert sorted(EXAMPLES) == sorted(NAMES)


@pytest.mark.parametrize("name", errors.__all__)
def test_its_home_is_what_users_import(name):
    """Tracebacks and pickles name an error as users import it, whichever file it is written in."""
    kind = getattr(errors, name)
    assert f"{kind.__module__}.{kind.__qualname__}" == f"aether.errors.{name}"


@pytest.mark.parametrize("name", NAMES)
def test_the_root_catches_it(name):
    """Every error is an AetherError."""
    with pytest.raises(errors.AetherError):
        raise example(name)


@pytest.mark.parametrize("name", NAMES)
def test_its_facts_are_attributes(name):
    """Each argument of the constructor is an attribute of the same name, and the docstring says what it means."""
    error = example(name)
    parameters = list(inspect.signature(type(error)).parameters)
    assert [getattr(error, parameter) for parameter in parameters] == list(EXAMPLES[name])
    documented = next(item for item in type(error).__mro__ if "Attributes:" in (item.__doc__ or "")).__doc__
    assert [parameter for parameter in parameters if f"{parameter}: " not in documented] == []


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "way", [lambda error: pickle.loads(pickle.dumps(error)), copy.copy, copy.deepcopy], ids=["pickle", "copy", "deep"]
)
def test_it_survives_pickling(name, way):
    """A pickled or copied error has the same class, facts and message, as worker processes need it."""
    error = example(name)
    other = way(error)
    assert type(other) is type(error)
    assert (other.args, vars(other), str(other)) == (error.args, vars(error), str(error))


@pytest.mark.parametrize("name", NAMES)
def test_its_message_tells_its_facts(name):
    """The message holds every fact that a reader could want, on one line."""
    message = str(example(name))
    assert "\n" not in message
    for fact in EXAMPLES[name]:
        for part in fact if isinstance(fact, tuple) else (fact,):
            shown = (f"{part:,}", str(part), f"{part:g}") if isinstance(part, int | float) else (str(part), repr(part))
            assert any(text in message for text in shown), (part, message)


@pytest.mark.parametrize("name", REMEDIES)
def test_its_message_says_what_to_do(name):
    """The message ends with what the reader can do."""
    assert REMEDIES[name] in str(example(name))


def test_long_ids_are_cut_and_hostile_ones_escaped():
    """An id that would flood or confuse a terminal is shown short and in ASCII."""
    message = str(errors.InvalidIdError("actor_id", "\x1b[2J\u202e" + "x" * 10_000, "is longer than 255 bytes"))
    assert len(message) < 150
    assert message.isascii()
    assert "\x1b" not in message


def test_a_damaged_message_without_an_actor_names_no_cure():
    """Where the actor cannot be told, there is none to repair, and the message does not pretend."""
    message = str(errors.CorruptEventError("AETHER-EVENTS-shop", 42, None, "it is no msgpack"))
    assert message == "message 42 in AETHER-EVENTS-shop: it is no msgpack"


def test_an_unknown_owner_is_not_invented():
    """A directory whose owner cannot be told is in use by another process, not by process 0."""
    assert "another process" in str(errors.StoreDirectoryInUseError("/var/data", 0))


def test_an_offset_that_is_none_is_not_shown():
    """An error of decoding that no byte is to blame for shows none."""
    assert str(errors.DecodeError(-1, "the data does not fit Order")) == "the data does not fit Order"


def test_an_ingestion_shows_its_first_failure_and_survives_pickling_with_all():
    """The message names the first failure; events and errors come back from a pickle."""
    failures = tuple(
        (Event("order-1", "OrderPlaced", version), errors.VersionConflictError("order-1", 3, 5)) for version in (4, 5)
    )
    error = pickle.loads(pickle.dumps(errors.IngestError(failures, 2, 0, 0)))
    assert str(failures[0][1]) in str(error)
    assert [event for event, _ in error.failures] == [event for event, _ in failures]
    assert [str(why) for _, why in error.failures] == [str(why) for _, why in failures]


def test_a_message_of_a_bus_has_no_place():
    """A damaged message that a bus brought is named by its subject alone."""
    message = str(errors.CorruptEventError("aether-bus.shop.a.b", 0, None, "it is no msgpack"))
    assert message == "a message in aether-bus.shop.a.b: it is no msgpack"


def test_events_not_published_survive_pickling_with_their_reason_told():
    """The message names why they were not published, and the events come back from a pickle."""
    error = errors.NotPublishedError(7, (Event("order-1", "OrderPlaced", 1),))
    error.__cause__ = errors.DeadlineError("publishing", 1.0)
    assert "publishing: no answer within 1 s" in str(error)
    assert pickle.loads(pickle.dumps(error)).events == error.events
