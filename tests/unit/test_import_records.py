"""Lines as events and back."""

from __future__ import annotations

import base64
import datetime as dt
import json
import math
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aether import Event
from aether.ingest.records import COMMIT_OVERHEAD_BYTES, BadRecordError, format_record, parse_record

COMMIT_BYTES_MAX = 2**20

GOOD: dict[str, Any] = {
    "id": "59679dbb-4e81-5039-952e-0842fb6bc8bf",
    "actor_id": "N14228",
    "event_type": "FlightDeparted",
    "timestamp": "2013-01-01T10:17:00Z",
    "data": {"flight": "UA1545", "delay_min": 2},
}


def line(**changes: object) -> bytes:
    """Return a good record with some fields changed; a field set to ... is left out."""
    fields = {key: value for key, value in {**GOOD, **changes}.items() if value is not ...}
    return json.dumps(fields).encode()


def test_a_record_becomes_the_event_it_describes() -> None:
    """Every field arrives, the optional ones too."""
    record = parse_record(7, line(metadata={"correlation_id": "c"}, version=3), COMMIT_BYTES_MAX)
    assert (record.line, record.actor_id, record.event_id, record.version) == (7, "N14228", GOOD["id"], 3)
    assert (record.event.event_type, record.event.data, record.event.metadata) == (
        "FlightDeparted",
        GOOD["data"],
        {"correlation_id": "c"},
    )
    assert record.event.timestamp == dt.datetime(2013, 1, 1, 10, 17, tzinfo=dt.UTC)
    assert record.size > len(record.event.payload)


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [
        ("2013-01-01T10:17:00Z", 0),
        ("2013-01-01T12:17:00+02:00", 0),
        ("20130101T101700Z", 0),
        ("2013-01-01T10:17:00.5Z", 500_000_000),
        ("2013-01-01T10:17:00,123456Z", 123_456_000),
        ("2013-01-01T10:17:00.123456789Z", 123_456_789),
        ("2013-01-01T12:17:00.000000001+02:00", 1),
        ("2013-01-01T10:17:00.1234567000000Z", 123_456_700),
    ],
)
def test_timestamps_are_read_to_the_nanosecond(text: str, nanoseconds: int) -> None:
    """Any ISO 8601 form with a zone is taken, and no digit is lost."""
    start = int(dt.datetime(2013, 1, 1, 10, 17, tzinfo=dt.UTC).timestamp()) * 10**9
    assert parse_record(7, line(timestamp=text), COMMIT_BYTES_MAX).event.time_ns == start + nanoseconds


BAD: dict[str, tuple[bytes, str]] = {
    "no JSON": (b"nonsense", "JSON is malformed"),
    "no object": (b"[1]", "Expected `object`, got `array`"),
    "no UTF-8": (b'{"id": "\xff"}', "utf-8"),
    "half a line": (b'{"id": "x"', "truncated"),
    "nested too deeply for JSON": (b'{"data": ' + b"[" * 100_000, "nested too deeply"),
    "missing id": (line(id=...), "missing required field `id`"),
    "missing data": (line(data=...), "missing required field `data`"),
    "data twice": (line(payload="wA=="), "both `data` and `payload`"),
    "unknown field": (line(metdata={}), "unknown field `metdata`"),
    "id is no text": (line(id=1), "Expected `str`, got `int`"),
    "empty id": (line(id=""), "id '': is empty"),
    "long id": (line(id="x" * 256), "longer than 255"),
    "empty actor": (line(actor_id=""), "actor_id '': is empty"),
    "empty type": (line(event_type=""), "event_type '': is empty"),
    "naive timestamp": (line(timestamp="2013-01-01T10:17:00"), "has no time zone; write it as in 2013-01-01T10:17:00Z"),
    "no timestamp": (line(timestamp="yesterday"), "is not ISO 8601"),
    "too fine a timestamp": (line(timestamp="2013-01-01T10:17:00.1234567891Z"), "finer than a nanosecond"),
    "a timestamp out of range": (line(timestamp="9999-01-01T00:00:00Z"), "timestamp"),
    "version 0": (line(version=0), "version must be 1"),
    "a version beyond 64 bits": (line(version=2**64), "version"),
    "int beyond 64 bits": (line(data={"a": [2**64]}), r"data\.a\[0\]: an int outside"),
    "float beyond range": (json.dumps(GOOD).replace('"UA1545"', "1e999").encode(), "Number out of range"),
    "nested too deeply for data": (line(data=json.loads("[" * 40 + "]" * 40)), "32"),
    "metadata is no text": (line(metadata={"a": 1}), "Expected `str`, got `int`"),
    "payload is no base64": (line(data=..., payload="k"), "payload is not base64"),
    "payload is no msgpack": (line(data=..., payload="kg=="), "announced"),
    "payload has two values": (line(data=..., payload="wMA="), "byte 1"),
}


@pytest.mark.parametrize(("bad", "reason"), BAD.values(), ids=BAD)
def test_what_is_no_record_is_refused_with_its_line_and_reason(bad: bytes, reason: str) -> None:
    """The error names the line and what is wrong there, and is the only error that a line can cause."""
    with pytest.raises(BadRecordError, match=reason) as caught:
        parse_record(7, bad, COMMIT_BYTES_MAX)
    assert caught.value.line == 7
    assert str(caught.value).startswith("line 7: ")


def test_an_event_that_no_commit_can_hold_is_refused_before_anything_is_sent() -> None:
    """The size is judged when the line is read, and the error says what the server would have to allow."""
    big = line(data="x" * 10_000)
    size = parse_record(7, big, COMMIT_BYTES_MAX).size
    parse_record(7, big, size + COMMIT_OVERHEAD_BYTES)
    with pytest.raises(BadRecordError, match="raise the server's max_payload"):
        parse_record(7, big, size + COMMIT_OVERHEAD_BYTES - 1)


EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
text = st.text(max_size=20)
names = st.text(min_size=1, max_size=20)
data = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | text
    | st.binary(max_size=20)
    | st.timedeltas(dt.timedelta(days=-90_000), dt.timedelta(days=90_000)).map(EPOCH.__add__),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(text, children, max_size=4),
    max_leaves=10,
)
moments = st.integers(-(2**62), 2**62)


@st.composite
def events(draw: st.DrawFn) -> Event:
    """Any event; the constructor takes no nanoseconds, so they go in as out of a pickle."""
    metadata = draw(st.dictionaries(text, text, max_size=3))
    version = draw(st.integers(1, 2**64 - 1))
    made = Event(draw(names), draw(names), version, draw(data), id=draw(names), metadata=metadata)
    restore, parts = made.__reduce__()
    return restore(*parts[:5], draw(moments), *parts[6:])


@given(events())
def test_every_event_comes_back_equal(event: Event) -> None:
    """What is written as a line is read as an equal event: data that JSON cannot say, and nanoseconds, included."""
    written = format_record(event)
    assert b"\n" not in written
    record = parse_record(1, written, COMMIT_BYTES_MAX)
    assert (record.actor_id, record.version, record.event) == (event.actor_id, event.version, event._draft())


@pytest.mark.parametrize("value", [math.nan, {1: 2}, [math.inf]], ids=str)
def test_what_other_libraries_wrote_and_json_cannot_say_comes_back_byte_for_byte(value: object) -> None:
    """A foreign payload that Aether itself would refuse to make is kept as it is."""
    payload = base64.b64encode(msgpack.packb(value)).decode()
    record = parse_record(7, line(data=..., payload=payload), COMMIT_BYTES_MAX)
    assert record.event.payload == msgpack.packb(value)
