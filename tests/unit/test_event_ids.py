"""Ids of events: given ones as they are, made ones unique and in order."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import threading
import time
import uuid

import pytest

from aether import Event, NewEvent
from aether._native import Commit, Head, encode_commit

CANONICAL = "59679dbb-4e81-5039-952e-0842fb6bc8bf"


def ids(count: int) -> list[str]:
    """Ids made one after the other."""
    return [NewEvent("t").id for _ in range(count)]


def test_ids_are_uuids_of_version_7():
    """An id that nobody gave is a UUID of version 7 whose time is now."""
    before = time.time_ns() // 1_000_000
    made = uuid.UUID(Event("a", "t", 1).id)
    assert (made.version, made.variant) == (7, uuid.RFC_4122)
    assert before <= made.int >> 80 <= time.time_ns() // 1_000_000


def test_ids_increase(size):
    """Ids made one after the other strictly increase, many to a millisecond."""
    made = ids(size.pick(20_000, 50_000, 1_000_000))
    assert all(earlier < later for earlier, later in itertools.pairwise(made))


def test_ids_increase_when_the_clock_goes_back(monkeypatch):
    """Ids increase although the clock stands still and goes back a day."""
    now = time.time_ns()
    made = ids(3)
    monkeypatch.setattr(time, "time_ns", lambda: now)
    made += ids(100)
    monkeypatch.setattr(time, "time_ns", lambda: now - 86_400 * 10**9)
    made += ids(100)
    assert made == sorted(set(made))


def test_the_time_of_an_event_is_not_that_of_its_id():
    """An event of long ago gets an id of now, so that ids stay in the order in which they were made."""
    import datetime as dt

    made = [Event("a", "t", 1).id, Event("a", "t", 1, timestamp=dt.datetime(1999, 1, 1, tzinfo=dt.UTC)).id, Event("a", "t", 1).id]
    assert made == sorted(made)


def test_ids_of_many_threads_are_unique(size):
    """Threads that make ids at once never make the same, and each sees its own increase."""
    made: list[list[str]] = []
    count = size.pick(5_000, 20_000, 200_000)
    start = threading.Barrier(4)

    def work() -> None:
        start.wait()
        made.append(ids(count))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(own == sorted(own) for own in made)
    assert len({one for own in made for one in own}) == 4 * count


FORK = """
import os, sys
from aether import NewEvent

NewEvent("t")  # randomness is drawn for many ids at once, and the children inherit it
readers = []
for _ in range(4):
    reader, writer = os.pipe()
    if os.fork() == 0:
        os.write(writer, "".join(NewEvent("t").id + "\\n" for _ in range(300)).encode())
        os._exit(0)
    os.close(writer)
    readers.append(reader)
lines = [NewEvent("t").id for _ in range(300)]
for reader in readers:
    with os.fdopen(reader) as file:
        lines += file.read().split()
print(len(lines), len(set(lines)))
# What follows the time: not one random part may be shared either.
print(len({line[15:] for line in lines}))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_ids_after_a_fork_are_unique():
    """Forked children make other ids than their parent and each other, down to the random part."""
    done = subprocess.run([sys.executable, "-c", FORK], capture_output=True, text=True, timeout=200, check=True)
    assert done.stdout.split() == ["1500", "1500", "1500"]


def stored(event_id: str | uuid.UUID) -> tuple[bytes, str]:
    """What an id takes in a commit, and how it is read back."""
    body = encode_commit("a", [Event("a", "t", 1, id=event_id)], Head(), header_bytes=0, bytes_max=10_000)
    at = body.index(b"\xa2id") + 3
    return body[at : body.index(b"\xa4type")], Commit.decode(body).events()[0].id


def test_the_canonical_form_takes_16_bytes():
    """A UUID in its canonical form, or as a UUID object, is stored as 16 bytes and read back in the same form."""
    sixteen = b"\xc4\x10" + uuid.UUID(CANONICAL).bytes
    assert stored(CANONICAL) == (sixteen, CANONICAL)
    assert stored(uuid.UUID(CANONICAL)) == (sixteen, CANONICAL)
    assert Event("a", "t", 1, id=uuid.UUID(CANONICAL)).id == CANONICAL


@pytest.mark.parametrize(
    "other",
    [
        CANONICAL.upper(),
        CANONICAL.replace("-", ""),
        "{" + CANONICAL + "}",
        "urn:uuid:" + CANONICAL,
        CANONICAL + " ",
        CANONICAL[:-1] + "F",
        "x",
        "x" * 255,
        "\0" * 16,
        "日本",
    ],
)
def test_any_other_form_stays_the_string_it_is(other):
    """An id in any other form is stored as its text and read back exactly."""
    raw, back = stored(other)
    assert back == other
    assert raw.endswith(other.encode())


@pytest.mark.parametrize("wrong", [5, b"x" * 16, object(), ["x"]])
def test_ids_are_text_or_uuids(wrong):
    """An id of any other type is a TypeError that says what it may be."""
    with pytest.raises(TypeError, match=r"id must be a str or a uuid\.UUID"):
        NewEvent("t", id=wrong)
