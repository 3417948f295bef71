"""`ActorReader`: the spine and the scan tell the same, in few rounds and bounded memory, and damage is never passed over."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from memory_stream import NAMESPACE, STREAM, MemoryStream, sealed

from aether import CorruptEventError, Event
from aether._native import Commit, Head, actor_subject, encode_commit
from aether.nats.stream_log import FETCH_BYTES, FETCH_MAX
from aether.store.reading import WINDOW_BYTES, ActorReader, Tip

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Size

    from aether.store.reading import Placed

DEADLINE = 2.0**40
MIB_COMMIT = b"x" * 990_000


def reader(stream: MemoryStream, actor_id: str = "a") -> ActorReader:
    """A reader of one actor."""
    return ActorReader(stream.log, NAMESPACE, actor_id)


async def tip(stream: MemoryStream, actor_id: str = "a") -> Tip:
    """The actor's last commit."""
    found = await reader(stream, actor_id).tip(DEADLINE)
    assert found is not None
    return found


async def windows(stream: MemoryStream, from_version: int = 0, window: int = 64) -> list[Placed]:
    """All windows of a read."""
    return [part async for part in reader(stream).windows(await tip(stream), from_version, window, lambda: DEADLINE)]


def told(placed: Placed) -> list[tuple[int, int]]:
    """Positions and versions."""
    return [(position, commit.version) for position, commit in placed]


def true(stream: MemoryStream, from_version: int = 0, actor_id: str = "a") -> list[tuple[int, int]]:
    """Positions and versions as they lie in the stream."""
    subject = actor_subject(NAMESPACE, actor_id)
    commits = [(m.position, Commit.decode(m.body).version) for m in stream.messages.values() if m.subject == subject]
    return [(position, version) for position, version in commits if version >= from_version]


async def test_n_commits_take_at_most_log2_n_plus_1_rounds_and_no_scan() -> None:
    """A load of 1 to 600 commits fetches each once, in at most log2(n) + 1 dependent rounds, without a scan."""
    stream, head = MemoryStream(), Head()
    for commits in range(1, 601):
        head = stream.commit("a", [commits], head)
        if commits > 130 and commits % 7 and (commits & (commits - 1)):
            continue  # each is made, each seventh is read
        end = await tip(stream)
        stream.rounds = stream.asked = 0
        placed = await reader(stream).all(end, 0, DEADLINE)
        assert [commit.version for _, commit in placed] == list(range(1, commits + 1))
        assert stream.rounds <= math.log2(commits) + 1
        assert stream.asked == commits - 1
    assert stream.log.scans == 0


async def test_a_late_from_version_fetches_few() -> None:
    """Reading the last ten of a thousand commits skips old subtrees whole."""
    stream = MemoryStream()
    stream.fill("a", 1000)
    end = await tip(stream)
    stream.asked = 0
    assert told(await reader(stream).all(end, 991, DEADLINE)) == true(stream, 991)
    assert stream.asked < 40
    assert stream.log.scans == 0


@given(
    steps=st.lists(st.tuples(st.integers(1, 3), st.integers(1, 3)), min_size=1, max_size=60),
    from_version=st.integers(0, 200),
    window=st.integers(1, 70),
)
@settings(deadline=None, max_examples=150)
async def test_spine_scan_and_windows_tell_the_same(steps: list[tuple[int, int]], from_version: int, window: int) -> None:
    """Whatever versions an actor has, a walk, windows of any size and a scan yield the same commits."""
    stream, head, version = MemoryStream(), Head(), 0
    for gap, count in steps:
        versions = list(range(version + gap, version + gap + count))
        head = stream.commit("a", versions, head)
        version = versions[-1]
    expected = true(stream, from_version)
    assert told(await reader(stream).all(await tip(stream), from_version, DEADLINE)) == expected
    assert told([placed for part in await windows(stream, from_version, window) for placed in part]) == expected
    assert stream.log.scans == 0
    scanned = [part async for part in reader(stream)._scan(await tip(stream), 0, from_version, lambda: DEADLINE)]
    assert told([placed for part in scanned for placed in part]) == expected


@pytest.mark.parametrize("small_first", [0, 2, 200, 1500])
async def test_windows_of_big_commits_stay_bounded(small_first: int, size: Size) -> None:
    """Whether commits of 1 MiB come first or after many small ones, no window holds more than 32 MiB, no round more than 16."""
    stream, head = MemoryStream(), Head()
    big = size.pick(30, 60, 120)
    for version in range(1, small_first + big + 1):
        head = stream.commit("a", [version], head, MIB_COMMIT if version > small_first else None)
    stream.commit("a", [small_first + big + 1], head)  # a small head tells nothing about the others
    parts = await windows(stream)
    assert [version for part in parts for _, version in told(part)] == list(range(1, small_first + big + 2))
    kept = [sum(len(stream.messages[position].body) for position, _ in part) for part in parts]
    assert max(kept) <= 4 * WINDOW_BYTES
    assert stream.largest_round <= 2 * FETCH_BYTES
    assert stream.asked <= 6 * (small_first + big) + 100, "no commit is fetched again and again"
    assert stream.log.scans == 0


async def test_windows_of_small_commits_grow() -> None:
    """Many small commits are read in few windows, even when the first was asked to have one."""
    stream = MemoryStream()
    stream.fill("a", 3000)
    assert len(await windows(stream, window=1)) < 20


async def test_a_round_has_a_bound() -> None:
    """However many commits a level of the spine has, so many are asked for at once and no more."""
    stream = MemoryStream()
    stream.fill("a", 3000)
    asked: list[int] = []
    original = stream.request_each

    async def counting(subject: str, payloads: list[bytes], deadline: float) -> object:
        asked.append(len(payloads))
        return await original(subject, payloads, deadline)

    stream.request_each = counting  # type: ignore[method-assign, assignment]  # to see each round
    assert len(await reader(stream).all(await tip(stream), 0, DEADLINE)) == 3000
    assert max(asked) == FETCH_MAX


async def test_what_a_replica_lacks_the_leader_has() -> None:
    """A replica that lags costs a question to the leader, and no commit."""
    stream = MemoryStream()
    stream.fill("a", 20)
    positions = [position for position, _ in true(stream)]
    stream.lagging = {*positions[3:5], *positions[17:]}
    assert told(await reader(stream).all(await tip(stream), 0, DEADLINE)) == true(stream)
    assert stream.log.scans == 0
    stream.lagging = set(positions[14:])  # within one answer a replica lacks the newest
    scanned = [part async for part in reader(stream)._scan(await tip(stream), 0, 0, lambda: DEADLINE)]
    assert told([placed for part in scanned for placed in part]) == true(stream)


# Spines that lie, and damage.

LIES: dict[str, object] = {
    "none": None,
    "a message that is no commit": [[1, 1]],
    "another actor's commit": [[2, 1]],
    "no message at all": [[2**40, 1]],
    "itself": [[16, 1]],
    "zero": [[0, 1]],
    "sizes too small": [[14, 1]],
    "sizes too large": [[14, 7]],
    "no tree's size": [[14, 2]],
    "out of order": [[4, 1], [14, 1]],
}


@pytest.mark.parametrize("lie", LIES)
@pytest.mark.parametrize("place", [16, 10])
async def test_a_spine_that_lies_sends_the_reader_to_the_scan(lie: str, place: int) -> None:
    """A missing or false spine, in the last commit or inside a tree, costs a scan, and neither hides nor invents an event."""
    stream = MemoryStream()
    stream.fill("b", 1)
    stream.fill("a", 7)
    assert [position for position, _ in true(stream)] == list(range(4, 17, 2))
    stream.rewrite(place, spine=LIES[lie])
    expected = true(stream)
    end = await tip(stream)
    assert told(await reader(stream).all(end, 0, DEADLINE)) == expected
    assert told([placed for part in await windows(stream, 0, 3) for placed in part]) == expected
    assert told([placed for part in await windows(stream, 6, 1) for placed in part]) == expected[5:]
    assert stream.log.scans >= 2


async def test_inside_a_tree_nothing_can_be_left_out() -> None:
    """A commit that counts fewer before it than whoever leads to it says, is noticed."""
    stream = MemoryStream()
    stream.fill("a", 7)
    stream.rewrite(10, spine=[])
    assert told(await reader(stream).all(await tip(stream), 0, DEADLINE)) == true(stream)
    assert stream.log.scans == 1


@pytest.mark.parametrize("spine", [[], [[2, 1]]])
async def test_a_last_commit_that_hides_others_is_its_writers_word(spine: list[list[int]]) -> None:
    """Known limit: a last commit whose spine is sound but leads past earlier commits hides them; only the scan shows them."""
    stream = MemoryStream()
    stream.fill("a", 3)
    stream.rewrite(true(stream)[2][0], spine=spine)
    assert len(await reader(stream).all(await tip(stream), 0, DEADLINE)) == 1 + len(spine)


OTHER = encode_commit("b", [Event("b", "t", 1)], Head(), header_bytes=0, bytes_max=10**6)

DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "foreign": lambda _: b"hello",
    "empty": lambda _: b"",
    "truncated": lambda body: body[:-7],
    "bit flipped": lambda body: body[:20] + bytes([body[20] ^ 4]) + body[21:],
    "another actor's": lambda _: OTHER,
    "of a later format": lambda body: sealed({**msgpack.unpackb(body), "format": 2}),
    "with a spine of 65 roots": lambda body: sealed({**msgpack.unpackb(body), "spine": [[99 - n, 1] for n in range(65)]}),
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("place", [0, 3, 6])
async def test_damage_is_named_and_never_passed_over(damage: str, place: int) -> None:
    """A damaged message, first, in the middle or last, is `CorruptEventError` with stream, position and actor in every read."""
    stream = MemoryStream()
    stream.fill("a", 7)
    position = true(stream)[place][0]
    message = stream.messages[position]
    stream.messages[position] = message._replace(body=DAMAGE[damage](message.body))

    async def all_() -> None:
        await reader(stream).all(await tip(stream), 0, DEADLINE)

    async def in_windows() -> None:
        await windows(stream, 0, 2)

    for read in (all_, in_windows):
        with pytest.raises(CorruptEventError) as caught:
            await read()
        error = caught.value
        assert (error.stream, error.position, error.actor_id) == (STREAM, position, "a")
        assert ("aether repair 'a'" in str(error)) is (damage != "of a later format")


async def test_windows_yield_what_lies_in_front_of_damage() -> None:
    """A read in batches yields all that is sound before it stops at the damaged message."""
    stream = MemoryStream()
    stream.fill("a", 40)
    position = true(stream)[30][0]
    stream.messages[position] = stream.messages[position]._replace(body=b"damaged")
    seen: Placed = []

    async def collect() -> None:
        async for part in reader(stream).windows(await tip(stream), 0, 4, lambda: DEADLINE):
            seen.extend(part)

    with pytest.raises(CorruptEventError):
        await collect()
    assert [commit.version for _, commit in seen] == list(range(1, len(seen) + 1))
    assert len(seen) >= 28


async def test_a_survey_tells_damage_and_the_last_good_head() -> None:
    """A survey names each damaged position, and a head whose spine leads to all good commits; what is passed is no news."""
    stream = MemoryStream()
    head = stream.fill("a", 5)
    good = true(stream)
    subject = actor_subject(NAMESPACE, "a")
    damaged = [stream.put(subject, b"x"), stream.put(subject, b"y")]
    last = stream.messages[damaged[-1]]
    found, positions = await reader(stream).survey(last, DEADLINE)
    assert positions == damaged
    assert found is not None
    assert (found.version, found.head) == (5, head)
    repair = encode_commit("a", [], head, header_bytes=0, bytes_max=10**6, passed=damaged)
    head = head.after(5, stream.put(subject, repair))
    head = stream.commit("a", [6], head)
    scans = stream.log.scans
    placed = await reader(stream).all(await tip(stream), 0, DEADLINE)
    assert told(placed)[:5] == good
    assert [commit.version for _, commit in placed] == [1, 2, 3, 4, 5, 5, 6]
    assert stream.log.scans == scans, "flat again"
    assert (await reader(stream).survey(stream.messages[stream.position], DEADLINE))[1] == []
    scanned = [part async for part in reader(stream)._scan(await tip(stream), 0, 0, lambda: DEADLINE)]
    assert told([item for part in scanned for item in part]) == told(placed)


async def test_a_version_that_falls_is_damage() -> None:
    """A sound commit whose version is not above the one in front of it is named by the scan."""
    stream = MemoryStream()
    stream.fill("a", 3)
    stream.put(actor_subject(NAMESPACE, "a"), stream.messages[true(stream)[1][0]].body)
    stream.commit("a", [4], Head())  # its spine knows nothing, so that it is searched for
    stream.rewrite(stream.position, spine=None)
    with pytest.raises(CorruptEventError, match="version 2 follows version 3"):
        await reader(stream).all(await tip(stream), 0, DEADLINE)
