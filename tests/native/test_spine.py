"""The spine from Python: how few rounds reach every commit, and what is not followed."""

from __future__ import annotations

import msgpack
import pytest

from aether import DecodeError, NewEvent
from aether._native import Commit, Head, SpineSearch, SpineWalk, commit_count, encode_commit, number_events

GAP = 3
"""The distance between an actor's commits, as if other actors wrote in between."""


class Log:
    """One actor's commits as JetStream would hold them: bodies by sequence."""

    def __init__(self, commits: int, events_each: int = 1) -> None:
        self.bodies: dict[int, bytes] = {}
        self.head = Head()
        event = NewEvent("t", id="i")
        for number in range(1, commits + 1):
            events = number_events("a", [event] * events_each, self.head.version + 1)
            body = encode_commit("a", events, self.head, header_bytes=0, bytes_max=10**6)
            self.bodies[GAP * number] = body
            self.head = self.head.after(events[-1].version, GAP * number)

    @property
    def last(self) -> Commit:
        """The head as it is read."""
        return Commit.decode(self.bodies[self.head.sequence])


def walked(log: Log, **window: int) -> tuple[list[int], int, int]:
    """Walk a log; return the positions of the commits, the rounds and the messages it took, the head's own included."""
    walk = SpineWalk(log.last, log.head.sequence, **window)
    rounds = fetched = 1
    while wanted := walk.wanted():
        assert wanted == sorted(set(wanted))
        rounds += 1
        for sequence in wanted:
            fetched += 1
            walk.feed(sequence, log.bodies[sequence])
    commits = walk.commits()
    assert [log.bodies[sequence] for sequence, _ in commits] == [commit.encode() for _, commit in commits]
    return [sequence for sequence, _ in commits], rounds, fetched


COUNTS = [*range(1, 70), 127, 128, 129, 1000, 1022, 1023, 1024, 1025, 4095, 4096, 5000]


@pytest.mark.parametrize("commits", COUNTS)
def test_rounds_grow_with_the_logarithm(commits):
    """Every one of n commits is reached once, in at most log2(n) + 1 rounds, of which the head is the first."""
    log = Log(commits)
    positions, rounds, fetched = walked(log)
    assert positions == list(log.bodies)
    assert fetched == commits
    assert rounds <= commits.bit_length()  # log2(commits) + 1, rounded down
    assert commit_count(log.last, log.head.sequence) == commits


def test_5000_commits_take_12_rounds_after_the_head():
    """At 5,000 commits no head carries more than 12 roots, 6 on average, and 12 rounds after the head's reach every commit."""
    log = Log(5000)
    spines = [Commit.decode(body).spine for body in log.bodies.values()]
    roots = [len(spine or []) for spine in spines]
    assert max(roots) == 12
    assert 5.5 < sum(roots) / len(roots) < 6.5
    assert walked(log)[1] <= 1 + 12


def test_no_size_below_5000_takes_more():
    """Whatever the number of commits up to 5,000, 12 rounds after the head's reach every one of them."""
    log = Log(5000)
    heads = [Commit.decode(body) for body in log.bodies.values()]
    # A tree of 2**k - 1 commits is k rounds deep, so the largest tree under a head tells its rounds.
    assert max(size.bit_length() for head in heads for _, size in head.spine or []) == 12


@pytest.mark.parametrize("events_each", [1, 3])
@pytest.mark.parametrize("from_version", [0, 1, 2, 500, 998, 999, 1000, 1001, 3000, 2**64 - 1])
def test_what_is_too_old_is_not_fetched(events_each, from_version):
    """From a version on, exactly the commits that reach it are found, and of the older ones few are fetched."""
    log = Log(1000, events_each)
    reaching = [sequence for sequence, body in log.bodies.items() if Commit.decode(body).version >= from_version]
    positions, _, fetched = walked(log, from_version=from_version)
    assert positions == reaching
    assert fetched <= len(reaching) + 40


@pytest.mark.parametrize(("first", "end"), [(0, 10), (490, 510), (999, 1000), (990, 2000), (0, 0), (5, 5), (1000, 1001)])
def test_a_window_of_ordinals(first, end):
    """A window of ordinals yields exactly those commits, and fetches few beside them."""
    log = Log(1000)
    positions, rounds, fetched = walked(log, first=first, end=end)
    assert positions == list(log.bodies)[first:end]
    assert fetched <= len(positions) + 60
    assert rounds <= 12


@pytest.mark.parametrize("from_version", [0, 1, 2, 77, 776, 777, 778])
def test_search(from_version):
    """The first commit that reaches a version is found in a logarithm of rounds; none: as many as there are."""
    log = Log(777)
    search = SpineSearch(log.last, log.head.sequence, from_version)
    rounds = fetched = 0
    while wanted := search.wanted():
        rounds += 1
        for sequence in wanted:
            fetched += 1
            search.feed(sequence, log.bodies[sequence])
    assert search.found() == min(max(from_version - 1, 0), 777)
    assert rounds <= 10
    assert fetched <= 40


def test_an_actor_with_one_commit():
    """The head alone is the whole actor."""
    log = Log(1)
    assert log.last.spine == []
    assert walked(log) == ([GAP], 1, 1)


def test_a_walk_ends_once():
    """Before it is done a walk yields nothing; after it ended it is used up."""
    log = Log(3)
    walk = SpineWalk(log.last, log.head.sequence)
    with pytest.raises(DecodeError, match="not done"):
        walk.commits()
    for use in (walk.commits, walk.wanted, lambda: walk.feed(GAP, log.bodies[GAP])):
        with pytest.raises(RuntimeError, match="ended"):
            use()


def with_spine(body: bytes, spine: list[list[int]] | None, **changed: object) -> Commit:
    """The same commit, its checksum good, with another spine."""
    return Commit.decode(forged(body, spine, **changed))


def forged(body: bytes, spine: list[list[int]] | None, **changed: object) -> bytes:
    """The bytes of the same commit with another spine, as anybody with msgpack and zlib could write it."""
    import zlib

    fields = msgpack.unpackb(body)
    del fields["crc"], fields["spine"]
    fields |= changed
    if spine is not None:
        fields["spine"] = spine
    fields["crc"] = 0
    packed = msgpack.packb(fields)[: -len(b"\xa3crc\x00")]
    return packed + b"\xa3crc\xce" + zlib.crc32(packed).to_bytes(4, "big")


HOSTILE = {
    "none": None,
    "of itself": [[60, 1]],
    "of what comes later": [[63, 1]],
    "sequence 0": [[0, 1]],
    "size 0": [[57, 0]],
    "size that is no tree's": [[57, 2]],
    "more than there can be": [[57, 63]],
    "out of order": [[54, 1], [57, 1]],
    "twice": [[57, 1], [57, 1]],
    "more than 64 bits": [[57, 2**64 - 1]],
    "sizes that add up past 64 bits": [[57, 2**63 - 1], [54, 2**63 - 1], [51, 2**63 - 1]],
    "as many as the stream": [[57, 31], [26, 15], [11, 7], [4, 3], [1, 1], [1, 1]],
}


@pytest.mark.parametrize("spine", HOSTILE.values(), ids=HOSTILE)
def test_hostile_heads_are_not_followed(spine):
    """A head whose roots cannot be those of a spine is refused before anything is fetched."""
    log = Log(20)
    head = with_spine(log.bodies[60], spine)
    for use in (commit_count, SpineWalk, lambda head, at: SpineSearch(head, at, 1)):
        with pytest.raises(DecodeError):
            use(head, 60)


@pytest.mark.parametrize(
    "spine",
    [[[1, 1]] * 65, [[5]], [[1, 2, 3]], [5], "text", [[-1, 1]], [["1", 1]], [[1.0, 1]]],
    ids=lambda spine: repr(spine)[:20],
)
def test_spines_that_are_none(spine):
    """What is no list of at most 64 pairs of numbers is no spine, and the commit is damaged."""
    with pytest.raises(DecodeError):
        with_spine(Log(2).bodies[6], spine)


def test_hostile_commits_on_the_way_are_not_followed():
    """A commit of another actor, one nobody asked for, one without its children, and one that counts wrongly end the walk."""
    log, other = Log(20), Log(20)
    walks = [SpineWalk(log.last, 60) for _ in range(5)]
    wanted = walks[0].wanted()[-1]
    body = other.bodies[wanted]
    spine = Commit.decode(body).spine or []
    cases = [
        (wanted, forged(body, [list(root) for root in spine], actor="b"), "another actor"),
        (GAP, log.bodies[GAP], "nobody asked for"),
        (wanted, forged(body, []), "counts others"),
        (wanted, forged(body, None), "no spine"),
        (wanted, log.bodies[wanted][:-1], "are left"),
    ]
    for walk, (sequence, fed, reason) in zip(walks, cases, strict=True):
        with pytest.raises(DecodeError, match=reason):
            walk.feed(sequence, fed)


def test_a_commit_is_taken_once():
    """A commit that was fed is not asked for again, and feeding it again is refused."""
    log = Log(20)
    walk = SpineWalk(log.last, 60)
    first = walk.wanted()[0]
    walk.feed(first, log.bodies[first])
    assert first not in walk.wanted()
    with pytest.raises(DecodeError, match="nobody asked for"):
        walk.feed(first, log.bodies[first])


def test_versions_that_go_back_are_noticed():
    """Commits whose versions do not increase along the spine are refused at the end."""
    log = Log(7)
    walk = SpineWalk(log.last, log.head.sequence)
    while wanted := walk.wanted():
        for sequence in wanted:
            body = log.bodies[sequence]
            events = msgpack.unpackb(body)["events"]
            events[0]["version"] += 10 * (sequence == GAP * 3)
            walk.feed(sequence, forged(body, [list(root) for root in Commit.decode(body).spine or []], events=events))
    with pytest.raises(DecodeError, match="not in order"):
        walk.commits()
