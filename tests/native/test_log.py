"""`MemoryLog`: index, versions and positions; bounds; many threads."""

from __future__ import annotations

import gc
import sys
import sysconfig
import threading
from pathlib import Path

import pytest

from aether import CommitTooLargeError, Event, NewEvent, Snapshot, StoreFullError, VersionConflictError
from aether._native import Head, MemoryLog, encode_commit


def event(version: int, actor: str = "a", **given: object) -> Event:
    """An event of an actor."""
    return Event(actor, "t", version, **given)


def test_positions_count_commits():
    """Positions run from 1, one a commit, over all actors."""
    log = MemoryLog()
    assert log.save_event(event(1)) == 1
    assert log.save_events([event(2), event(3)]) == 2
    assert log.save_event(event(9, "b")) == 3
    assert log.append("b", [NewEvent("t"), NewEvent("t")]) == (11, 4)
    assert log.counts() == (6, 2)


def test_equal_events_are_recognised_for_ever():
    """Saving stored events again returns the position they have; one that differs is a conflict that names the truth."""
    log = MemoryLog()
    first, more = event(1), [event(4), event(7)]
    log.save_event(first)
    log.save_events(more)
    log.append("a", NewEvent("t"))
    assert log.save_event(first) == 1
    assert log.save_events(more) == log.save_event(more[1]) == log.save_events(more[:1]) == 2
    for other in (event(1), event(3), event(8)):
        with pytest.raises(VersionConflictError) as caught:
            log.save_event(other)
        assert (caught.value.actor_id, caught.value.expected, caught.value.actual) == ("a", other.version - 1, 8)
    with pytest.raises(VersionConflictError):
        log.save_events([*more, event(9)])
    assert log.counts() == (4, 1)


@pytest.mark.parametrize(
    ("events", "reason"),
    [
        ([], "at least one event"),
        ([event(1), event(1)], "strictly increase"),
        ([event(2), event(1)], "strictly increase"),
        ([event(1), event(2, "b")], "one actor"),
    ],
)
def test_what_is_no_commit(events, reason):
    """No events, versions that do not increase and several actors are refused."""
    with pytest.raises(ValueError, match=reason):
        MemoryLog().save_events(events)


@pytest.mark.parametrize("wrong", [NewEvent("t"), 5, None, [event(1)]])
def test_save_event_takes_an_event(wrong):
    """Anything but an event is a TypeError that says what to use."""
    with pytest.raises(TypeError, match="save_event takes an Event"):
        MemoryLog().save_event(wrong)


@pytest.mark.parametrize("wrong", [event(1), [event(1)], [NewEvent("t"), 5]])
def test_append_takes_new_events(wrong):
    """An event, which has its version, is not appended."""
    with pytest.raises(TypeError):
        MemoryLog().append("a", wrong)


def test_append_checks_the_expected_version():
    """An expected version that is not the latest is a conflict; none means any."""
    log = MemoryLog()
    with pytest.raises(VersionConflictError):
        log.append("a", NewEvent("t"), 1)
    assert log.append("a", NewEvent("t"), 0) == (1, 1)
    assert log.append("a", NewEvent("t"), expected_version=1) == (2, 2)
    assert log.append("a", [NewEvent("t")], None) == (3, 3)


def test_versions_end():
    """An append that would number past 2**64 - 1 is refused and changes nothing."""
    log = MemoryLog()
    log.save_event(event(2**64 - 2))
    with pytest.raises(ValueError, match="used up"):
        log.append("a", [NewEvent("t")] * 2)
    assert log.append("a", NewEvent("t")) == (2**64 - 1, 2)
    with pytest.raises(ValueError, match="used up"):
        log.append("a", NewEvent("t"))
    assert log.get_latest_version("a") == 2**64 - 1


def test_reading():
    """Events come in version order from a version on, at most as many as asked for, and they are those that were saved."""
    log = MemoryLog()
    saved = [event(version) for version in (1, 2, 5, 9)]
    log.save_events(saved)
    assert log.get_events("a", 0) == log.get_events("a", 1) == saved
    assert log.get_events("a", 3) == saved[2:]
    assert log.get_events("a", 2, 2) == saved[1:3]
    assert log.get_events("a", 10) == log.get_events("b", 0) == log.get_events("a", 0, 0) == []
    assert (log.get_latest_version("a"), log.get_latest_version("b")) == (9, 0)


def test_max_events():
    """A full log refuses and keeps what it has, and still recognises it."""
    log = MemoryLog(2)
    first = event(1)
    log.save_event(first)
    with pytest.raises(StoreFullError, match="max_events=2"):
        log.save_events([event(2), event(3)])
    with pytest.raises(StoreFullError):
        log.append("b", [NewEvent("t")] * 2)
    assert log.save_event(first) == 1
    assert log.append("a", NewEvent("t")) == (2, 2)
    assert log.counts() == (2, 1)


@pytest.mark.parametrize("length", [0, 1000, 900_000])
def test_commit_bytes_max(length):
    """A commit of exactly the limit fits, one byte more does not, and nothing of it is kept."""
    first = event(1, data="x" * length)
    size = len(encode_commit("a", [first], Head(), header_bytes=0, bytes_max=2**30))
    assert MemoryLog(None, size).save_event(first) == 1
    log = MemoryLog(None, size - 1)
    with pytest.raises(CommitTooLargeError) as caught:
        log.save_event(first)
    assert (caught.value.actor_id, caught.value.size, caught.value.limit) == ("a", size, size - 1)
    assert log.counts() == (0, 0)


def test_snapshots():
    """The latest snapshot is kept; one that is older, or ahead of the events, does not replace it."""
    log = MemoryLog()
    log.append("a", [NewEvent("t")] * 5)
    assert log.get_latest_snapshot("a") is log.get_latest_snapshot("b") is None
    for version in (2, 4, 3):
        log.save_snapshot(Snapshot("a", version, version))
    assert log.get_latest_snapshot("a").state == 4
    for ahead in (Snapshot("a", 6, None), Snapshot("b", 1, None)):
        with pytest.raises(VersionConflictError):
            log.save_snapshot(ahead)
    assert log.get_latest_snapshot("a").state == 4


def run_threads(work, count: int = 4) -> None:
    """Run `work(seed)` in threads that start at once; raise what went wrong in any."""
    barrier, failures = threading.Barrier(count), []

    def guarded(seed: int) -> None:
        barrier.wait()
        try:
            work(seed)
        except BaseException as failure:  # noqa: BLE001 - it is raised again in the test's own thread
            failures.append(failure)

    threads = [threading.Thread(target=guarded, args=(seed,)) for seed in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


def test_threads_append_without_loss(size):
    """Threads that append to the same actors at once leave contiguous versions, every event once, and each its own order."""
    log, each = MemoryLog(), size.pick(2000, 5000, 100_000)

    def work(seed: int) -> None:
        for number in range(each):
            log.append(f"actor-{number % 3}", NewEvent("t", [seed, number]))

    run_threads(work)
    found = []
    for actor in range(3):
        events = log.get_events(f"actor-{actor}", 0)
        assert [one.version for one in events] == list(range(1, len(events) + 1))
        own = [one.data for one in events]
        for seed in range(4):
            mine = [number for by, number in own if by == seed]
            assert mine == sorted(mine)
        found += own
    assert sorted(found) == [[seed, number] for seed in range(4) for number in range(each)]
    assert log.counts() == (4 * each, 3)


def test_one_thread_wins_each_version(size):
    """Of the threads that save at one version exactly one succeeds; each other learns the version that is really there."""
    log, rounds = MemoryLog(), size.pick(1500, 5000, 100_000)
    wins: list[tuple[int, int]] = []

    def work(seed: int) -> None:
        for version in range(1, rounds + 1):
            try:
                log.save_event(event(version, id=f"{seed}-{version}"))
                wins.append((version, seed))
            except VersionConflictError as conflict:
                actual = conflict.actual
                assert actual >= version

    run_threads(work)
    assert sorted(version for version, _ in wins) == list(range(1, rounds + 1))
    assert [one.id for one in log.get_events("a", 0)] == [f"{seed}-{version}" for version, seed in sorted(wins)]


def test_readers_see_prefixes(size):
    """A reader never sees a gap, half a commit, or less than it saw before, while others write."""
    log, commits = MemoryLog(), size.pick(1500, 5000, 50_000)
    done = threading.Event()

    def work(seed: int) -> None:
        if seed == 0:
            for _ in range(commits):
                log.append("a", [NewEvent("t")] * 3)
            done.set()
            return
        seen = 0
        while not done.is_set():
            versions = [one.version for one in log.get_events("a", seen)]
            assert versions == list(range(max(seen, 1), max(seen, 1) + len(versions)))
            assert (max(seen, 1) + len(versions) - 1) % 3 == 0
            seen = max(seen, *versions, 0)

    run_threads(work, 3)
    assert log.get_latest_version("a") == 3 * commits


def test_garbage_collection_within_a_call_does_not_lock_up():
    """A finaliser that uses the log while the log makes its list of events neither waits for itself nor is refused."""
    log = MemoryLog()
    log.append("a", [NewEvent("t")] * 500)
    ran = []

    class Loop:
        def __init__(self) -> None:
            self.me = self

        def __del__(self) -> None:
            log.append("b", NewEvent("t"))
            ran.append(len(log.get_events("a", 0)))

    for _ in range(20):
        Loop()
    before = gc.get_threshold()
    gc.set_threshold(1)
    try:
        for _ in range(20):
            log.get_events("a", 0)
    finally:
        gc.set_threshold(*before)
    gc.collect()
    assert ran == [500] * 20


def test_the_extension_declares_that_it_needs_no_gil():
    """The module says that it does not rely on the GIL, so that importing it leaves a free-threaded interpreter free."""
    if sysconfig.get_config_var("Py_GIL_DISABLED"):
        assert not sys._is_gil_enabled()
        return
    source = Path(__file__).parents[2] / "rust" / "bindings" / "mod.rs"
    assert "#[pymodule(gil_used = false)]" in source.read_text(encoding="utf-8")
