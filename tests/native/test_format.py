"""Events to lines natively: the same bytes as Python's `format_record`, or left to it."""

from __future__ import annotations

import msgpack
import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from aether import Event, NewEvent, codec
from aether._native import format_records, payload_json
from aether.errors import AetherError
from aether.ingest import records
from aether.ingest.records import format_record, is_json

texts = st.one_of(st.text(max_size=40), st.sampled_from(['"\\/\b\f\n\r\t', "\0\x1f\x7f\x80\u2028\u2029\ufeff", "é💥"]))
thousandths = st.integers(-(2**60), 2**60).map(lambda number: number / 1000)
floats = st.one_of(st.floats(), st.floats(1e-6, 1e18), thousandths, st.sampled_from([0.0, -0.0]))
values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**63), 2**64 - 1), floats, texts, st.binary(max_size=3)),
    lambda held: st.one_of(st.lists(held, max_size=20), st.dictionaries(texts, held, max_size=20)),
    max_leaves=30,
)
moments = st.one_of(st.integers(-(2**63), 2**63 - 1), st.integers(-(2**31), 2**32).map(lambda s: s * 10**9))


def by_python(event: Event) -> bytes:
    """Return what Python makes of an event without the native quick way."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(records, "payload_json", lambda _: None)
        return format_record(event)


@settings(max_examples=500, deadline=None)
@given(
    names=st.tuples(texts.filter(bool), texts.filter(bool)),
    version=st.integers(1, 2**64 - 1),
    data=values,
    moment=moments,
    metadata=st.dictionaries(texts, texts, max_size=3),
)
def test_a_native_line_is_pythons(
    names: tuple[str, str], version: int, data: object, moment: int, metadata: dict[str, str]
) -> None:
    """Whatever an event holds, the line is the same, byte for byte, or there is none; the JSON of its data too."""
    try:
        made = Event(*names, version, data, id=names[0], metadata=metadata).__reduce__()
    except AetherError:
        return  # no event: NaN, say
    event: Event = made[0](*made[1][:5], moment, *made[1][6:])
    lines, index = format_records([event], 0)
    assert (lines, index) in ((by_python(event) + b"\n", 1), (b"", 0))
    data_json = payload_json(event.payload)
    assert data_json in (None, msgspec.json.encode(event.data) if is_json(event.data) else None)
    assert (data_json is None) == (index == 0)


def test_what_nearly_every_event_holds_is_written_natively() -> None:
    """Nothing of the kind is left to Python, and one that is ends the call in front of it."""
    plain = [
        Event("a", "T", n, {"n": [n, -n, n / 8, True, None, "é"], "f": 1e14, "": {}}, metadata={"k": "v"}) for n in range(1, 300)
    ]
    odd = Event("a", "T", 9, b"bytes")
    assert format_records(plain, 0)[1] >= 100
    assert format_records([*plain[:3], odd, plain[0]], 1) == (b"".join(by_python(event) + b"\n" for event in plain[1:3]), 3)
    assert format_records([odd], 0) == (b"", 0)
    assert format_records(plain, len(plain)) == (b"", len(plain))


foreign = st.recursive(
    st.one_of(st.none(), st.floats(width=32), st.integers(0, 2**64 - 1), texts),
    lambda held: st.one_of(st.lists(held, max_size=20), st.dictionaries(st.one_of(texts, st.integers(0, 9)), held, max_size=20)),
).map(lambda value: msgpack.packb(value, use_single_float=True))


@given(payload=st.one_of(st.binary(min_size=1, max_size=40), foreign))
@example(b"\x82\xa1a\x01\xa1a\x02")
@example(b"\x82\xa1b\x01\xa1b\x01")
@example(b"\xcc\x01")
@example(b"\xdc\x00\x01\xc0")
@example(b"\x81\x01\x02")
@example(b"\xc0\xc0")
@example(b"\xa1\xff")
@example(b"\x91" * 2000 + b"\xc0")
def test_what_is_no_data_as_this_library_writes_it_is_left_to_python(payload: bytes) -> None:
    """Keys twice, numbers and marks longer than they need be, damage and depth are not written natively as something else."""
    data_json = payload_json(payload)
    if data_json is not None:
        assert codec.encode(msgspec.json.decode(data_json)) == payload


def test_only_events_have_lines() -> None:
    """Anything else is a TypeError."""
    with pytest.raises(TypeError, match="must be Event"):
        format_records([NewEvent("T")], 0)  # type: ignore[list-item]
