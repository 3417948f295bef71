"""Records of epochs and the epoch of a commit. The bytes of a record are in tests/golden."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aether import CommitTooLargeError, DecodeError, Event, InvalidIdError
from aether._native import Commit, EpochRecord, Head, encode_commit, encode_epoch

NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60)
NUMBERS = st.integers(1, 2**64 - 1)
EVENT = Event("a", "t", 1)


@given(NAMES, NUMBERS, NUMBERS)
def test_a_record_comes_back_whole(node: str, incarnation: int, other: int) -> None:
    """A record reads as the node and the incarnation that it was made of, and equals another exactly if both are equal."""
    record = EpochRecord.decode(encode_epoch(node, incarnation))
    assert (record.node, record.incarnation) == (node, incarnation)
    again = EpochRecord.decode(encode_epoch(node, other))
    assert (record == again) == (incarnation == other)
    assert incarnation != other or hash(record) == hash(again)
    assert record != EpochRecord.decode(encode_epoch(node + "x", incarnation))
    assert repr(incarnation) in repr(record)


@given(NAMES, NUMBERS, st.data())
def test_a_damaged_record_is_noticed(node: str, incarnation: int, data: st.DataObject) -> None:
    """A record that is cut short anywhere, or has any one bit flipped, is a `DecodeError`."""
    body = bytearray(encode_epoch(node, incarnation))
    with pytest.raises(DecodeError):
        EpochRecord.decode(bytes(body[: data.draw(st.integers(0, len(body) - 1))]))
    bit = data.draw(st.integers(0, 8 * len(body) - 1))
    body[bit // 8] ^= 1 << bit % 8
    with pytest.raises(DecodeError):
        EpochRecord.decode(bytes(body))


REFUSED = {
    "no name": ("", 1, InvalidIdError),
    "a long name": ("é" * 128, 1, InvalidIdError),
    "half a character": ("\ud800", 1, InvalidIdError),
    "incarnation 0": ("n", 0, ValueError),
    "incarnation below 0": ("n", -1, OverflowError),
    "incarnation of 65 bits": ("n", 2**64, OverflowError),
    "a name that is a number": (1, 1, TypeError),
    "an incarnation that is text": ("n", "1", TypeError),
}


@pytest.mark.parametrize(("node", "incarnation", "error"), REFUSED.values(), ids=REFUSED)
def test_what_makes_no_record(node: str, incarnation: int, error: type[Exception]) -> None:
    """What can be no node, or no incarnation of one, is refused."""
    with pytest.raises(error):
        encode_epoch(node, incarnation)


@given(st.none() | NUMBERS, st.lists(NUMBERS, max_size=3))
def test_a_commit_names_its_epoch(epoch: int | None, passed: list[int]) -> None:
    """The epoch that a commit, or a repair, is written under is read from it again, and comes to no other key."""
    for events in ([Event("a", "t", 7)], []):
        body = encode_commit("a", events, Head(), header_bytes=0, bytes_max=1000, passed=passed, epoch=epoch)
        commit = Commit.decode(body)
        assert (commit.epoch, commit.passed, commit.spine, commit.events()) == (epoch, passed, [], events)
        assert commit.encode() == body


def test_what_is_no_epoch_of_a_commit() -> None:
    """An epoch is a stream sequence, so 0 and what does not fit 64 bits is refused."""
    for epoch, error in [(0, ValueError), (-1, OverflowError), (2**64, OverflowError), ("1", TypeError)]:
        with pytest.raises(error):
            encode_commit("a", [EVENT], Head(), header_bytes=0, bytes_max=1000, epoch=epoch)  # type: ignore[arg-type]


def test_the_epoch_counts_in_a_commits_size() -> None:
    """A commit that fits only without its epoch is too large with it, by the bytes that the epoch takes."""
    plain = encode_commit("a", [EVENT], Head(), header_bytes=0, bytes_max=1000)
    owned = encode_commit("a", [EVENT], Head(), header_bytes=0, bytes_max=1000, epoch=70_000)
    assert len(owned) == len(plain) + len(b"\xa5epoch\xce\0\1\x11\x70")
    assert encode_commit("a", [EVENT], Head(), header_bytes=0, bytes_max=len(owned), epoch=70_000) == owned
    with pytest.raises(CommitTooLargeError):
        encode_commit("a", [EVENT], Head(), header_bytes=0, bytes_max=len(owned) - 1, epoch=70_000)
