"""Every file of every format ever released reads as it did, and what Aether writes today are the same bytes."""

from __future__ import annotations

import hashlib
import re
import uuid
import zlib
from pathlib import Path
from typing import Any

import msgpack
import pytest
from make_golden import COMMITS, HERE, RECORDS, REPLIES, SNAPSHOTS, body_of, path_of

from aether import DecodeError, Event, Snapshot, codec
from aether._native import (
    Commit,
    EpochRecord,
    EventFilter,
    Exchange,
    Head,
    Mailbox,
    bus_body,
    bus_subject,
    decode_reply,
    encode_commit,
    encode_epoch,
    encode_error,
    encode_reply,
)

FILES = {**COMMITS, **SNAPSHOTS, **REPLIES, **RECORDS}
PAGE = Path(__file__).parents[2] / "docs" / "format.md"
HASHES = HERE / "SHA256SUMS"


def decode_of(name: str) -> Any:
    """The reader of this file."""
    if name in REPLIES:
        return decode_reply
    if name in RECORDS:
        return EpochRecord.decode
    return Snapshot._from_bytes if name in SNAPSHOTS else Commit.decode


def test_the_files_never_change():
    """The files are those whose hashes were written down when they were made, and no others."""
    written = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in HERE.glob("*.msgpack")}
    lines = (line.split() for line in HASHES.read_text(encoding="utf-8").splitlines())
    assert written == {name: digest for digest, name in lines}
    assert set(written) == {path_of(name).name for name in FILES}


@pytest.mark.parametrize("name", FILES)
def test_made_with_stock_libraries(name):
    """Each file is what msgpack and zlib alone make of the fields that the script lists."""
    assert path_of(name).read_bytes() == body_of(FILES[name])


@pytest.mark.parametrize("name", FILES)
def test_read_by_stock_msgpack(name):
    """Stock msgpack reads each file, as exactly the fields that went in, and zlib confirms its checksum."""
    body = path_of(name).read_bytes()
    fields = msgpack.unpackb(body, timestamp=3)
    crc = fields.pop("crc")
    assert fields == {"format": 1, **FILES[name]}
    assert crc == zlib.crc32(body[: body.rindex(b"\xa3crc")])


def as_fields(event: Event) -> dict[str, Any]:
    """An event as the map that the script would make of it, but for unknown keys."""
    try:
        stored: object = uuid.UUID(event.id).bytes if str(uuid.UUID(event.id)) == event.id else event.id
    except ValueError:
        stored = event.id
    return {
        "id": stored,
        "type": event.event_type,
        "version": event.version,
        "time": event.time_ns,
        "data": event.data,
        "meta": event.metadata,
    }


@pytest.mark.parametrize("name", COMMITS)
def test_commit_read_natively(name):
    """The native reader yields exactly the values that went in."""
    fields, commit = COMMITS[name], Commit.decode(path_of(name).read_bytes())
    known = [{key: held for key, held in event.items() if key not in ("later", "nested")} for event in fields["events"]]
    events = commit.events()
    assert [as_fields(event) for event in events] == known
    assert repr([as_fields(event) for event in events]) == repr(known)
    assert {event.actor_id for event in events} <= {fields["actor"]}
    assert commit.actor_id == fields["actor"]
    assert commit.spine == ([tuple(root) for root in fields["spine"]] if "spine" in fields else None)
    assert (commit.epoch, commit.passed) == (fields.get("epoch"), fields.get("passed", []))
    assert commit.version == (known[-1]["version"] if known else fields["version"])
    assert commit.version_before == (known[0]["version"] - 1 if known else fields["version"])


@pytest.mark.parametrize("name", COMMITS)
def test_commit_written_again(name):
    """What was read is written as the same bytes, unknown keys of the commit and of its events included."""
    body = path_of(name).read_bytes()
    assert Commit.decode(body).encode() == body


def test_events_keep_their_unknown_keys():
    """An event read with keys that are not known carries them into another commit and through a pickle."""
    import pickle

    (event,) = Commit.decode(path_of("unknown-keys").read_bytes()).events()
    body = encode_commit("order-123", [pickle.loads(pickle.dumps(event))], Head(), header_bytes=0, bytes_max=10_000)
    (fields,) = msgpack.unpackb(body)["events"]
    assert (fields["later"], fields["nested"]) == ("kept", {"x": [1, {}]})
    known = Event("order-123", event.event_type, 1, id=event.id)
    assert event != known


@pytest.mark.parametrize("name", ["one-event", "many-events", "all-kinds-of-data", "metadata", "string-ids"])
def test_commit_written_from_events(name):
    """Events made anew from the values that went in are written as the same bytes, on top of the head that the spine names."""
    fields = COMMITS[name]
    body = path_of(name).read_bytes()
    commit = Commit.decode(body)
    head = Head()
    for sequence, _ in reversed(fields["spine"]):
        head = head.after(10, sequence)
    made = []
    for event in commit.events():
        again = Event(event.actor_id, event.event_type, event.version, event.data, id=event.id, metadata=event.metadata)
        # Nanoseconds cannot be given by a datetime, so the time alone is taken over.
        restore, parts = again.__reduce__()
        made.append(restore(*parts[:5], event.time_ns, *parts[6:]))
    assert made == commit.events()
    assert encode_commit(fields["actor"], made, head, header_bytes=0, bytes_max=10**6) == body


def test_repair_written():
    """A repair is written as the same bytes, on top of the head that it repairs."""
    fields = COMMITS["repair"]
    head = Head().after(fields["version"], fields["spine"][0][0])
    body = encode_commit("order-123", [], head, header_bytes=0, bytes_max=10_000, passed=fields["passed"])
    assert body == path_of("repair").read_bytes()


def test_snapshot_read_and_written():
    """The snapshot reads as what went in, and is written as the same bytes."""
    fields = SNAPSHOTS["snapshot"]
    body = path_of("snapshot").read_bytes()
    snapshot = Snapshot._from_bytes(body)
    assert (snapshot.actor_id, snapshot.version, snapshot.time_ns, snapshot.state) == (
        fields["actor"],
        fields["version"],
        fields["time"],
        fields["state"],
    )
    assert snapshot._to_bytes() == body


def test_snapshot_with_unknown_keys():
    """A snapshot with keys that are not known is read all the same."""
    fields = {**SNAPSHOTS["snapshot"], "later": [1]}
    assert Snapshot._from_bytes(body_of(fields)) == Snapshot._from_bytes(path_of("snapshot").read_bytes())


def test_an_event_of_a_bus_read_and_written():
    """A bus's message is read from its subject as its event, and written as the same subject and bytes."""
    body, subject = path_of("bus-event").read_bytes(), "aether-bus.shop.order=2E1=2F=C3=A9.Order=20placed"
    exchange, mailbox = Exchange("shop"), Mailbox(EventFilter(), 10, 10_000, "error")
    exchange.attach(mailbox)
    exchange.accept(subject, "", body)
    (event,) = mailbox.take(10)
    assert [event] == Commit.decode(body).events()
    assert (bus_subject("shop", event), bus_body(event)) == (subject, body)


@pytest.mark.parametrize("name", REPLIES)
def test_a_reply_read_and_written(name):
    """A reply reads as the value or the error that went in, and is written as the same bytes."""
    body, fields = path_of(name).read_bytes(), REPLIES[name]
    assert decode_reply(body) == (fields.get("value"), fields.get("error"))
    assert body == (encode_error(fields["error"]) if "error" in fields else encode_reply(codec.encode(fields["value"])))


@pytest.mark.parametrize("name", RECORDS)
def test_a_record_of_an_epoch_read_and_written(name):
    """A record of an epoch reads as what went in, is written as the same bytes, and what it does not know it steps over."""
    body, fields = path_of(name).read_bytes(), RECORDS[name]
    record = EpochRecord.decode(body)
    assert (record.node, record.incarnation) == (fields["node"], fields["incarnation"])
    assert encode_epoch(record.node, record.incarnation) == body_of({key: fields[key] for key in ("node", "incarnation")})


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


def test_keys_in_any_order_and_metadata_unsorted():
    """What another writer made, keys in another order and metadata unsorted, reads as the same events."""
    reordered = dict(reversed(ONE.items())) | {"meta": {"b": "2", "a": "1"}}
    usual = {**ONE, "meta": {"a": "1", "b": "2"}}
    bodies = [body_of({"later": 1, "actor": "a", "events": [fields], "spine": []}) for fields in (reordered, usual)]
    assert bodies[0] != bodies[1]
    assert Commit.decode(bodies[0]).events() == Commit.decode(bodies[1]).events()


def reader() -> Any:
    """The reader that the documentation prints, as its text defines it."""
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    names: dict[str, Any] = {}
    exec(compile(code, str(PAGE), "exec"), names)
    return names["read_commit"]


def test_the_documented_reader_is_short():
    """The reader in the documentation has about ten lines and needs msgpack and zlib alone."""
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    lines = [line for line in code.splitlines() if line.strip()]
    assert len(lines) <= 13
    assert [line for line in lines if line.startswith(("import ", "from "))] == ["import msgpack, uuid, zlib"]


@pytest.mark.parametrize("name", COMMITS)
def test_the_documented_reader(name):
    """The reader in the documentation reads each file as the native one does, and refuses it with one bit flipped."""
    body, read_commit = path_of(name).read_bytes(), reader()
    commit = Commit.decode(body)
    fields = read_commit(body)
    assert (fields["actor"], fields.get("epoch"), fields.get("passed", [])) == (commit.actor_id, commit.epoch, commit.passed)
    for event, native in zip(fields["events"], commit.events(), strict=True):
        assert (event["id"], event["type"], event["version"]) == (native.id, native.event_type, native.version)
        assert (event["time"], event["data"], event["meta"]) == (native.time_ns, native.data, native.metadata)
    damaged = bytearray(body)
    damaged[len(body) // 2] ^= 1
    with pytest.raises(Exception):  # noqa: B017, PT011 - msgpack's own error, or the checksum's
        read_commit(bytes(damaged))


def test_the_page_names_every_key():
    """The documentation names each key of a commit, of an event, of a snapshot and of a record of an epoch."""
    page = PAGE.read_text(encoding="utf-8")
    known = {key for fields in FILES.values() for key in fields} | set(ONE) | {"format", "crc"}
    assert [key for key in sorted(known - {"later", "latest"}) if f"| `{key}` |" not in page] == []
