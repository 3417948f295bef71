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

from aether import Event, Snapshot, codec
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
(ONE,) = COMMITS["one-event"]["events"]


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
