"""What is no message of Aether, or not whole, is refused with where and what: cut, flipped, foreign, or with a wrong field."""

from __future__ import annotations

import re
import zlib
from typing import Any

import msgpack
import pytest
from make_golden import COMMITS, RECORDS, REPLIES, SNAPSHOTS, body_of, path_of

from aether import DecodeError, Snapshot
from aether._native import Commit, EpochRecord, decode_reply

FILES = {**COMMITS, **SNAPSHOTS, **REPLIES, **RECORDS}


def decode_of(name: str) -> Any:
    """The reader of this file."""
    if name in REPLIES:
        return decode_reply
    if name in RECORDS:
        return EpochRecord.decode
    return Snapshot._from_bytes if name in SNAPSHOTS else Commit.decode


@pytest.mark.parametrize("name", FILES)
def test_every_truncation_is_noticed(name):
    """A file cut short anywhere is a DecodeError whose offset lies within it."""
    body, decode = path_of(name).read_bytes(), decode_of(name)
    for length in range(len(body)):
        with pytest.raises(DecodeError) as caught:
            decode(body[:length])
        assert 0 <= caught.value.offset <= length


@pytest.mark.parametrize("name", FILES)
def test_every_flipped_bit_is_noticed(name, size):
    """A file with any one bit flipped is a DecodeError whose offset lies within it."""
    body, decode = path_of(name).read_bytes(), decode_of(name)
    for bit in range(0, 8 * len(body), size.pick(3, 1, 1)):
        damaged = bytearray(body)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(DecodeError) as caught:
            decode(bytes(damaged))
        assert 0 <= caught.value.offset <= len(body)


GOOD = COMMITS["one-event"]
(ONE,) = GOOD["events"]

FOREIGN = {
    "nothing": (b"", 0, "are left"),
    "text": (b"hello world", 0, "a map was expected"),
    "JSON": (b'{"format": 1}', 0, "a map was expected"),
    "another map": (msgpack.packb({"a": 1}), 1, "no message of Aether"),
    "an empty map": (b"\x80", 1, "no checksum"),
    "without checksum": (msgpack.packb({"format": 1, "actor": "a"}), 17, "no checksum"),
    "something behind": (body_of(GOOD) + b"\0", None, "follow"),
    "format 2": (body_of({"format": 2, **GOOD}), 8, "format 2; this version of Aether reads format 1"),
    "format 2, all else unknown": (msgpack.packb({"format": 2, "columns": []}), 8, "format 2"),
    "format as text": (body_of({"format": "1", **GOOD}), 8, "a number from 0 was expected, not a string"),
    "no actor": (body_of({"events": [], "version": 1}), None, "before its events"),
    "actor behind its events": (body_of({"events": [ONE], "actor": "a"}), None, "before its events"),
    "empty actor": (body_of({**GOOD, "actor": ""}), None, "empty"),
    "long actor": (body_of({**GOOD, "actor": "a" * 256}), None, "longer"),
    "no events": (body_of({"actor": "a"}), None, "lacks"),
    "neither events nor version": (body_of({"actor": "a", "events": []}), None, "neither events nor a version"),
    "another version": (body_of({**GOOD, "version": 2}), None, "states version 2"),
    "versions that stand still": (body_of({**GOOD, "events": [ONE, ONE]}), None, "version 1 follows 1"),
    "version 0": (body_of({**GOOD, "events": [{**ONE, "version": 0}]}), None, "no version"),
    "version of 65 bits": (body_of({**GOOD, "events": [{**ONE, "version": -1}]}), None, "a number from 0"),
    "event without data": (body_of({**GOOD, "events": [{k: v for k, v in ONE.items() if k != "data"}]}), None, "lacks"),
    "event that is no map": (body_of({**GOOD, "events": [5]}), None, "a map was expected"),
    "id of 15 bytes": (body_of({**GOOD, "events": [{**ONE, "id": b"x" * 15}]}), None, "16"),
    "empty id": (body_of({**GOOD, "events": [{**ONE, "id": ""}]}), None, "empty"),
    "metadata that is no text": (body_of({**GOOD, "events": [{**ONE, "meta": {"k": 1}}]}), None, "a string was expected"),
    "time of 65 bits": (body_of({**GOOD, "events": [{**ONE, "time": 2**63}]}), None, "64 bits with a sign"),
    "nested 600 levels": (
        body_of({**GOOD, "later": b""}).replace(b"\xa5later\xc4\x00", b"\xa5later" + b"\x91" * 600 + b"\xc0"),
        None,
        "deeper",
    ),
    "a snapshot": (path_of("snapshot").read_bytes(), None, "lacks"),
    "a record of an epoch": (path_of("epoch-record").read_bytes(), None, "lacks"),
}


@pytest.mark.parametrize(("body", "offset", "reason"), FOREIGN.values(), ids=FOREIGN)
def test_what_is_no_commit(body, offset, reason):
    """Foreign bytes, another format and fields that are none are a DecodeError that says where and what, checksum good or not."""
    with pytest.raises(DecodeError, match=re.escape(reason)) as caught:
        Commit.decode(body)
    assert 0 <= caught.value.offset <= len(body)
    if offset is not None:
        assert caught.value.offset == offset


def twice(key: str, inside: str = "") -> bytes:
    """The good commit, its checksum good, with a key of it, or of its event, twice."""
    marked = {**GOOD, "events": [{**ONE, "XXXX": ONE[key]}]} if inside else {**GOOD, "XXXX": GOOD[key]}
    packed = msgpack.packb({"format": 1, **marked, "crc": 0}).removesuffix(b"\xa3crc\x00")
    packed = packed.replace(b"\xa4XXXX", msgpack.packb(key))
    return packed + b"\xa3crc\xce" + zlib.crc32(packed).to_bytes(4, "big")


@pytest.mark.parametrize("key", ["actor", "events", "spine"])
def test_a_key_of_the_commit_twice(key):
    """A key that is there twice is refused: two readers could choose differently."""
    with pytest.raises(DecodeError, match=f'the key "{key}" is there twice'):
        Commit.decode(twice(key))


@pytest.mark.parametrize("key", ["id", "type", "version", "time", "data", "meta"])
def test_a_key_of_the_event_twice(key):
    """The same holds for the keys of an event."""
    with pytest.raises(DecodeError, match=f'the key "{key}" is there twice'):
        Commit.decode(twice(key, inside="event"))


@pytest.mark.parametrize("key", ["actor", "version", "time", "state"])
def test_what_is_no_snapshot(key):
    """A snapshot without one of its keys, and a commit in its place, are a DecodeError."""
    fields = {name: held for name, held in SNAPSHOTS["snapshot"].items() if name != key}
    for body in (body_of(fields), path_of("one-event").read_bytes(), b"", b"\x80"):
        with pytest.raises(DecodeError):
            Snapshot._from_bytes(body)


NO_RECORDS = {
    "no node": {"incarnation": 1},
    "no incarnation": {"node": "n"},
    "incarnation 0": {"node": "n", "incarnation": 0},
    "incarnation below 0": {"node": "n", "incarnation": -1},
    "an empty node": {"node": "", "incarnation": 1},
    "a node of 256 bytes": {"node": "n" * 256, "incarnation": 1},
    "a node that is a number": {"node": 1, "incarnation": 1},
    "a commit": COMMITS["epoch"],
    "a snapshot": SNAPSHOTS["snapshot"],
    "nothing": {},
}


@pytest.mark.parametrize("fields", NO_RECORDS.values(), ids=NO_RECORDS)
def test_what_is_no_record_of_an_epoch(fields):
    """A record without a node or an incarnation, or with one that cannot be, is a DecodeError, its checksum good or not."""
    with pytest.raises(DecodeError) as caught:
        EpochRecord.decode(body_of(fields))
    assert 0 <= caught.value.offset <= len(body_of(fields))
    with pytest.raises(DecodeError):
        EpochRecord.decode(path_of("epoch-record").read_bytes()[:-1] + b"\0")
