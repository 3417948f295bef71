"""What stores do with commits: check, number, encode, find. The bytes themselves are in tests/golden."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aether import CommitTooLargeError, Event, InvalidIdError, NewEvent
from aether._native import Commit, Head, check_events, encode_commit, events_in, number_events, position_of

ROOM = {"header_bytes": 0, "bytes_max": 10**6}


def events(*versions: int, actor: str = "a") -> list[Event]:
    """Events of an actor at these versions."""
    return [Event(actor, "t", version, {"version": version}) for version in versions]


def placed(*commits: list[Event]) -> list[tuple[int, Commit]]:
    """Commits as a walk yields them, at positions 10, 20, …."""
    found, head = [], Head()
    for number, own in enumerate(commits, 1):
        body = encode_commit(own[0].actor_id, own, head, **ROOM)
        head = head.after(own[-1].version, 10 * number)
        found.append((10 * number, Commit.decode(body)))
    return found


def test_check_events():
    """Events that make a commit yield its actor, its first and its last version; any iterable will do."""
    assert check_events(events(3)) == ("a", 3, 3)
    assert check_events(iter(events(3, 4, 9))) == ("a", 3, 9)


NO_COMMITS = {
    "none": ([], ValueError, "at least one event"),
    "standing still": (events(1, 1), ValueError, "strictly increase"),
    "going back": (events(2, 1), ValueError, "strictly increase"),
    "of two actors": (events(1) + events(2, actor="b"), ValueError, "belong to one actor"),
    "new events": ([NewEvent("t")], TypeError, "must be Event objects"),
    "one event": (events(1)[0], TypeError, "not iterable"),
    "nothing": (None, TypeError, "not iterable"),
}


@pytest.mark.parametrize(("given_", "error", "reason"), NO_COMMITS.values(), ids=NO_COMMITS)
def test_check_events_refuses(given_, error, reason):
    """What makes no commit is refused with the reason."""
    with pytest.raises(error, match=reason):
        check_events(given_)


def test_an_error_while_iterating_passes_through():
    """An error of the iterable's own reaches the caller as it is."""

    def failing():
        yield from events(1)
        raise LookupError("gone")

    for use in (check_events, lambda given: encode_commit("a", given, Head(), **ROOM)):
        with pytest.raises(LookupError, match="gone"):
            use(failing())


def test_encode_commit_is_exact_about_its_size():
    """A body and its headers of exactly the limit fit; one byte more is an error that names both sizes."""
    body = encode_commit("a", events(1), Head(), **ROOM)
    assert encode_commit("a", events(1), Head(), header_bytes=100, bytes_max=len(body) + 100) != b""
    with pytest.raises(CommitTooLargeError) as caught:
        encode_commit("a", events(1), Head(), header_bytes=100, bytes_max=len(body) + 99)
    assert (caught.value.actor_id, caught.value.size, caught.value.limit) == ("a", len(body) + 100, len(body) + 99)


@pytest.mark.parametrize(
    ("own", "head"),
    [(events(1, actor="b"), Head()), (events(2, 1), Head()), (events(3), Head().after(3, 9)), (events(1), Head().after(3, 9))],
)
def test_encode_commit_refuses_what_it_could_not_read(own, head):
    """Events of another actor, out of order, or at or below the head are refused."""
    with pytest.raises(ValueError, match=r"above its head|strictly increase"):
        encode_commit("a", own, head, **ROOM)


def test_encode_commit_refuses_what_is_no_id():
    """A commit of no actor is refused."""
    with pytest.raises(InvalidIdError):
        encode_commit("", [], Head(), **ROOM)


def test_number_events():
    """New events become the actor's at the versions from the first on, and stay the same otherwise."""
    drafts = [NewEvent("t", number, metadata={"k": "v"}) for number in range(3)]
    numbered = number_events("é", iter(drafts), 7)
    assert [(one.actor_id, one.version, one.data) for one in numbered] == [("é", 7, 0), ("é", 8, 1), ("é", 9, 2)]
    assert [one._draft() for one in numbered] == drafts
    assert number_events("a", drafts[0], 1)[0].version == 1


@pytest.mark.parametrize("first", [0, -1, 2**64, 2**64 - 1])
def test_number_events_never_passes_the_last_version(first):
    """Versions out of range are a ValueError, also if only the last one is."""
    with pytest.raises(ValueError, match="version"):
        number_events("a", [NewEvent("t")] * 2, first)


def test_number_events_up_to_the_last_version():
    """The last version that there is can be given."""
    assert [one.version for one in number_events("a", [NewEvent("t")] * 2, 2**64 - 2)] == [2**64 - 2, 2**64 - 1]


def test_number_events_takes_new_events():
    """An event that has its version is refused, with what to do instead."""
    with pytest.raises(TypeError, match="save it"):
        number_events("a", events(1), 1)


def test_events_in():
    """The events of several commits come in order, from a version on and up to a limit."""
    first, second = events(1, 2, 3), events(5, 9)
    commits = placed(first, second)
    assert events_in(commits) == first + second
    assert events_in(commits, 3) == [first[2], *second]
    assert events_in(commits, 4, 1) == second[:1]
    assert events_in(commits, 10) == events_in(commits, 0, 0) == events_in([]) == []


def test_position_of(size):
    """The position of the last of some stored events is found exactly if every one of them is stored as it is."""
    stored = events(*range(1, 13))
    commits = placed(stored[:1], stored[1:5], stored[5:6], stored[6:])
    where = dict(zip(range(12), [10, 20, 20, 20, 20, 30, *[40] * 6], strict=True))

    @settings(max_examples=size.pick(100, 300, 3000), deadline=None)
    @given(st.sets(st.integers(0, 11), min_size=1).map(sorted), st.booleans())
    def holds(chosen, one_differs):
        wanted = [stored[index] for index in chosen]
        if one_differs:
            wanted[len(wanted) // 2] = Event("a", "t", wanted[len(wanted) // 2].version, "other")
        assert position_of(commits, wanted) == (None if one_differs else where[chosen[-1]])

    holds()
    assert position_of(commits, []) is None
    assert position_of([], stored) is None
    assert position_of(commits, events(13)) is None


def test_commit_repr():
    """The repr names the actor, the version and how many events there are."""
    ((_, commit),) = placed(events(1, 2))
    assert repr(commit) == '<Commit of "a" to version 2, 2 events>'
    assert repr(commit.head(5)) == "<Head version 2 at 5, 1 roots>"


def test_events_of_a_commit_from_a_version():
    """A commit yields its events from a version on."""
    own = events(4, 6, 8)
    ((_, commit),) = placed(own)
    assert commit.events() == commit.events(4) == own
    assert commit.events(5) == own[1:]
    assert commit.events(from_version=9) == []
