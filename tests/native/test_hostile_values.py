"""Values whose own code runs while they are encoded, and memory that hostile bytes would like to have."""

from __future__ import annotations

import datetime as dt
import resource
import subprocess
import sys
import textwrap
import threading

import pytest

from aether import DecodeError, EncodeError, Event, codec
from aether._native import Commit


class Zone(dt.tzinfo):
    """A time zone that does something when it is asked."""

    def __init__(self, act) -> None:
        self.act = act

    def utcoffset(self, moment):
        """Act."""
        self.act()
        return dt.timedelta(0)

    def dst(self, moment):
        """Have none."""


def acting(act) -> dt.datetime:
    """A datetime that runs `act` while it is encoded."""
    return dt.datetime(2026, 1, 1, tzinfo=Zone(act))


def test_list_that_shrinks():
    """A list emptied while it is encoded is refused, and nothing that was freed is touched."""
    items: list[object] = []
    items += [acting(items.clear), "a" * 1000, ["b"]]
    with pytest.raises(EncodeError, match="the list changed"):
        codec.encode(items)


def test_list_that_grows():
    """A list that grows while it is encoded is refused."""
    items: list[object] = []
    items += [acting(lambda: items.append(1)), 2]
    with pytest.raises(EncodeError, match="the list changed"):
        codec.encode(items)


def test_dict_that_shrinks():
    """A dict emptied while it is encoded is refused, and nothing that was freed is touched."""
    items: dict[str, object] = {}
    items |= {"k" * 50: acting(items.clear), "b": "b" * 1000}
    with pytest.raises(EncodeError, match="the dict changed"):
        codec.encode(items)


def test_dict_that_grows_for_ever():
    """A dict that gains an entry for each that is encoded ends at the payload's limit."""
    items: dict[str, object] = {}

    def grow() -> None:
        items[f"{len(items):0100}"] = acting(grow)

    grow()
    with pytest.raises(EncodeError, match=r"the dict changed|passes its limit"):
        codec.encode(items, limits=codec.Limits(payload_bytes_max=10_000))


def test_dict_whose_entry_is_replaced():
    """An entry replaced while it is encoded is the old one or the new one."""
    items: dict[str, object] = {}
    items |= {"a": acting(lambda: items.update(b="new")), "b": "old"}
    assert codec.decode(codec.encode(items))["b"] in ("old", "new")


def test_encoding_within_encoding():
    """Encoding, decoding and making events in the middle of an encoding works and leaves it whole."""
    inner = []

    def act() -> None:
        inner.append(Event("a", "t", 1, {"deep": ["x" * 100]}).data)
        inner.append(codec.decode(codec.encode({"deep": 2})))

    value = {"before": "y" * 100, "at": acting(act), "after": "z" * 100}
    back = codec.decode(codec.encode(value))
    assert (back["before"], back["after"]) == ("y" * 100, "z" * 100)
    assert inner[:2] == [{"deep": ["x" * 100]}, {"deep": 2}]


class LyingItems(dict):
    """A dict whose items are what it is told to say."""

    def __init__(self, said) -> None:
        super().__init__(a=1)
        self.said = said

    def items(self):
        """Say so."""
        return self.said


@pytest.mark.parametrize("said", [[("b", 2)], [], [("c", {"d": [1]}), ("e", None)]])
def test_dict_subclass_that_makes_up_its_items(said):
    """A subclass of dict is written with the items it says it has."""
    assert codec.decode(codec.encode(LyingItems(said))) == dict(said)


@pytest.mark.parametrize("said", [None, 5, [1], [("a",)], [("a", 1, 2)]])
def test_dict_subclass_whose_items_are_none(said):
    """What is no list of pairs is an error of Python's, as anywhere."""
    with pytest.raises((TypeError, ValueError)):
        codec.encode(LyingItems(said))


def test_dict_subclass_keys_are_checked():
    """Made-up keys are checked as others are."""
    with pytest.raises(EncodeError, match="the key 5 is not a str"):
        codec.encode({"x": LyingItems([(5, 1)])})


class Refusing(dt.tzinfo):
    """A time zone that raises."""

    def utcoffset(self, moment):
        """Raise."""
        raise LookupError("no such zone")


class ReprRaises:
    """A key whose repr raises."""

    def __repr__(self) -> str:
        raise RuntimeError("no repr")


def test_errors_of_the_values_own_code_pass_through():
    """An error raised by a value's own code reaches the caller as it is."""
    with pytest.raises(LookupError, match="no such zone"):
        codec.encode([dt.datetime(2026, 1, 1, tzinfo=Refusing())])


def test_key_that_cannot_be_shown():
    """A key whose repr raises is refused all the same."""
    with pytest.raises(EncodeError, match=r"the key \? is not a str"):
        codec.encode({ReprRaises(): 1})


def run(program: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a program in a process of its own, so that a crash is that process's."""
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(program)],
        env={"PYTHONMALLOC": "debug", **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_garbage_collector_in_the_middle():
    """A finaliser that empties the dict while the refusal of one of its values is made frees nothing that is still used."""
    done = run("""
        import gc
        from aether import EncodeError, codec

        class Loop:
            def __init__(self, victim):
                self.me, self.victim = self, victim
            def __del__(self):
                self.victim.clear()
                self.junk = [bytes(range(256)) for _ in range(50)]

        gc.collect()
        gc.freeze()  # modules are there to stay; to look at them in each collection takes long
        for bad in ("\\ud800", 2**70, "é\\udfff"):
            for _ in range(200):
                key = "k" * 3 + str(len("xyz"))
                victim = {key: bad}
                del key
                gc.collect()
                Loop(victim)
                gc.set_threshold(1)
                try:
                    codec.encode(victim)
                except EncodeError as error:
                    assert error.path == "data.kkk3" or not victim, error.path
                gc.set_threshold(700)
        print("alive")
    """)
    assert (done.returncode, done.stdout, done.stderr) == (0, "alive\n", "")


def test_nesting_at_the_ceiling_on_a_small_stack():
    """Depth 512, the most that can be asked for, fits a stack of 768 KiB; no system gives Python's threads less than 1 MiB."""
    done = run("""
        import dataclasses, threading
        from aether import codec

        @dataclasses.dataclass
        class Node:
            next: object

        limits = codec.Limits(depth_max=512)
        outcome = []

        def work():
            for wrap in (lambda inner: [inner], lambda inner: {"k": inner}, lambda inner: (inner,), Node):
                value = None
                for _ in range(512):
                    value = wrap(value)
                body = codec.encode(value, limits=limits)
                assert codec.encode(codec.decode(body, limits=limits), limits=limits) == body
            key = None
            body = b"\\x81" + b"\\x91" * 511 + b"\\xc0\\xc0"
            codec.decode(body, limits=limits)
            outcome.append("alive")

        threading.stack_size(768 * 1024)
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        print(*outcome)
    """)
    assert (done.returncode, done.stdout, done.stderr) == (0, "alive\n", "")


def test_false_lengths_reserve_nothing():
    """Within 256 MiB of address space, false lengths of 4 GiB in payloads and commits are refused, and nothing aborts."""
    usage = 256 * 2**20
    done = run(
        f"""
        import pathlib
        import resource
        import msgpack
        from aether import DecodeError, codec
        from aether._native import Commit, Snapshot

        used = int(pathlib.Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + {usage}, used + {usage}))
        wide = codec.Limits(payload_bytes_max=2**32 - 1, elements_max=2**32 - 1, depth_max=512)
        head = b"\\x84\\xa6format\\x01\\xa5actor\\xa1a"
        marks = [b"\\xdd", b"\\xdf", b"\\xdb", b"\\xc6", b"\\xc9"]
        for mark in marks:
            false = mark + b"\\xff\\xff\\xff\\xff" + bytes(1000)
            for body in [false, b"\\x91" + false, b"\\x81\\xa1k" + false]:
                try:
                    codec.decode(body, limits=wide)
                except DecodeError:
                    continue
                raise SystemExit("read")
            for key in ["events", "spine", "passed", "epoch", "version", "unknown", "crc"]:
                body = head + msgpack.packb(key) + false
                for decode in (Commit.decode, Snapshot._from_bytes):
                    try:
                        decode(body)
                    except DecodeError:
                        continue
                    raise SystemExit("read")
            for key in ["id", "type", "version", "time", "data", "meta", "unknown"]:
                body = head + b"\\xa6events\\x91\\x81" + msgpack.packb(key) + false
                try:
                    Commit.decode(body)
                except DecodeError:
                    continue
                raise SystemExit("read")
        print("alive")
        """
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "alive\n", "")


def test_objects_are_made_and_released_in_balance():
    """Under Python's debug allocator, making, copying, pickling, listing and refusing events leaves no reference behind."""
    done = run("""
        import copy, gc, pickle, sys
        from aether import Event, NewEvent, Snapshot
        from aether._native import MemoryLog

        def work():
            log = MemoryLog()
            for number in range(300):
                event = Event("a", "t", number + 1, {"n": [number]}, metadata={"k": "v"})
                log.save_event(event)
                assert pickle.loads(pickle.dumps(event)) == copy.deepcopy(event) == event
                log.append("b", NewEvent("t", number))
                assert Event(actor_id="a", event_type="t", version=1).data is None
                Snapshot("a", 1, {"n": number}).state
                for wrong in [(), ("a",), ("a", "t", 0), ("", "t", 1), (1, 2, 3), ("a", "t", 1, {1}), ("a", "t", 1, 2, 3)]:
                    try:
                        Event(*wrong)
                    except (TypeError, ValueError):
                        continue
                    raise SystemExit("made")
            assert len(log.get_events("a", 0)) == len(log.get_events("b", 0)) == 300

        def references():
            gc.collect()
            return [sys.getrefcount(kind) for kind in (Event, NewEvent, Snapshot, MemoryLog)]

        work()
        before = references()
        work()
        work()
        print(references() == before)
    """)
    assert (done.returncode, done.stdout, done.stderr) == (0, "True\n", "")


def test_keys_cached_by_many_threads(size):
    """Threads that encode and decode at once, sharing keys, each get their own values."""
    rounds = size.pick(300, 1000, 20_000)
    failures: list[BaseException] = []

    def work(seed: int) -> None:
        try:
            for number in range(rounds):
                value = {"shared": seed, f"own{seed}": number, "text": "ü" * (number % 40), f"k{number % 2000}": [seed] * 3}
                assert codec.decode(codec.encode(value)) == value
        except BaseException as failure:  # noqa: BLE001 - it is raised again in the test's own thread
            failures.append(failure)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_memory_of_refused_bytes_is_given_back(size):
    """Refusing bytes over and over does not make the process grow."""
    bad = [b"\x91" * 33, b"\xdd\xff\xff\xff\xff", b"\x81\x80\x01", b"\xa2\xff\xff", b"\x92\xd9\x20" + b"x" * 32]

    def rounds(count: int) -> int:
        for _ in range(count):
            for body in bad:
                with pytest.raises(DecodeError):
                    codec.decode(body)
                with pytest.raises(DecodeError):
                    Commit.decode(body)
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    before = rounds(300)
    assert rounds(size.pick(1000, 3000, 30_000)) - before < 4096
