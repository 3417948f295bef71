"""The native parser of records beside the one in Python, which says what a record is."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from test_import_records import BAD, GOOD, events, line

from aether._native import read_record
from aether.codec import Limits, get_default_limits, set_default_limits
from aether.ingest.records import BadRecordError, Record, format_record, judge_record, parse_record

COMMIT_BYTES_MAX = 4096

integers = st.integers() | st.sampled_from([2**63 - 1, 2**63, 2**64 - 1, 2**64, -(2**63), -(2**63) - 1, 0])
numbers = (
    integers.map(str)
    | st.floats(allow_nan=False, allow_infinity=False).map(repr)
    | st.from_regex(r"-?(0|[1-9][0-9]{0,25})(\.[0-9]{1,25})?([eE][+-]?[0-9]{1,3})?", fullmatch=True)
)
characters = st.characters() | st.characters(max_codepoint=0x7F) | st.sampled_from('"\\/\b\f\n\r\t\x00\x7f\u2028\ud800\U0010ffff')
texts = st.text(characters, max_size=20)


@st.composite
def strings(draw: st.DrawFn) -> str:
    """JSON strings, escaped as they may be."""
    text = draw(texts)
    ascii_only = draw(st.booleans())
    written = json.dumps(text, ensure_ascii=ascii_only)
    return written.replace("/", "\\/") if draw(st.booleans()) else written


blanks = st.text(" \t", max_size=2)


@st.composite
def arrays(draw: st.DrawFn, items: st.SearchStrategy[str]) -> str:
    """JSON arrays with blanks where they may be."""
    return "[" + ",".join(draw(blanks) + item + draw(blanks) for item in draw(st.lists(items, max_size=20))) + "]"


@st.composite
def objects(draw: st.DrawFn, keys: st.SearchStrategy[str], items: st.SearchStrategy[str]) -> str:
    """JSON objects, keys twice included."""
    pairs = draw(st.lists(st.tuples(keys, items), max_size=20))
    return "{" + ",".join(f"{draw(blanks)}{key}{draw(blanks)}:{item}" for key, item in pairs) + "}"


keys = strings() | st.sampled_from(['"a"', '"b"', '"\\u0061"'])
values = st.recursive(
    numbers | strings() | st.sampled_from(["true", "false", "null", "NaN", "Infinity", "", "tru", "01", "+1", "1."]),
    lambda children: arrays(children) | objects(keys, children),
    max_leaves=30,
)
EDGES = {"1677-09-21T00:12:43.145224192Z": -(2**63), "2262-04-11T23:47:16.854775807Z": 2**63 - 1}
offsets = st.timedeltas(dt.timedelta(hours=-23), dt.timedelta(hours=23)).map(dt.timezone)
moments = (
    st.datetimes(timezones=offsets).map(lambda moment: moment.isoformat())
    | st.from_regex(
        r"\d{4}-[01]\d-[0-3]\d[T ][0-2]\d:[0-6]\d(:[0-6]\d)?([.,]\d{1,11})?(Z|z|[+-][0-2]\d:?(\d{2})?)?",
        fullmatch=True,
    )
    | st.sampled_from([*EDGES, "1677-09-21T00:12:43.145224191Z", "2262-04-11T23:47:16.854775808Z"])
)
FIELDS: dict[str, st.SearchStrategy[str]] = {
    "id": strings() | st.uuids().map(lambda one: f'"{one}"'),
    "actor_id": strings(),
    "event_type": strings(),
    "timestamp": moments.map(json.dumps) | strings(),
    "data": values,
    "metadata": objects(keys, strings()) | st.just("null") | values,
    "version": integers.map(str) | values,
    "payload": strings(),
    "other": values,
}


@st.composite
def lines(draw: st.DrawFn) -> bytes:
    """Records with some fields changed, left out, there twice, and in any order."""
    fields = [(key, json.dumps(value)) for key, value in GOOD.items() if not draw(st.sampled_from([False] * 15 + [True]))]
    for name in draw(st.lists(st.sampled_from(list(FIELDS)), max_size=4)):
        value = draw(FIELDS[name])
        if draw(st.sampled_from([True] * 9 + [False])):
            fields = [field for field in fields if field[0] != name]
        fields.append((name, value))
    ordered = draw(st.permutations(fields))
    text = "{" + ",".join(f'{draw(blanks)}"{name}"{draw(blanks)}:{value}' for name, value in ordered) + "}" + draw(blanks)
    return text.encode("utf-8", "surrogatepass")


def outcome(parse: Any, content: bytes) -> Record | str:
    """Return the record, or what is wrong."""
    try:
        record = parse(1, content, COMMIT_BYTES_MAX)
    except BadRecordError as error:
        return error.reason
    assert isinstance(record, Record)
    return record


@given(lines())
@example(b'{"id":"","actor_id":"a","event_type":"T","timestamp":"2013-01-01T10:17:00Z","data":-0}')
@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow])
def test_both_parsers_make_the_same_of_every_line(content: bytes) -> None:
    """Whatever a line holds, it becomes the same event, or is refused for the same reason, with the native parser and without."""
    assert outcome(parse_record, content) == outcome(judge_record, content)


@given(st.binary(max_size=200), st.integers(0, 200))
def test_both_parsers_make_the_same_of_damage(noise: bytes, place: int) -> None:
    """Bytes in the middle of a good line that do not belong there are judged alike."""
    good = json.dumps(GOOD).encode()
    for content in (noise, good[:place] + noise, good[:place] + noise + good[place:]):
        assert outcome(parse_record, content) == outcome(judge_record, content)


@given(events())
def test_what_an_export_writes_is_read_alike(event: Any) -> None:
    """A line that an event was written as becomes the same record with both."""
    content = format_record(event)
    assert outcome(parse_record, content) == outcome(judge_record, content)


def test_the_native_parser_takes_what_nearly_every_line_is() -> None:
    """It is no way round: good records are its own, and it takes no line that Python refuses."""
    for good in (line(), line(metadata={"a": "b"}, version=3), line(timestamp="2013-01-01T12:17:00.5+02:00")):
        assert read_record(good, COMMIT_BYTES_MAX) is not None
    for bad, _ in BAD.values():
        assert read_record(bad, COMMIT_BYTES_MAX) is None


@pytest.mark.parametrize("limits", [Limits(payload_bytes_max=20), Limits(depth_max=2), Limits(elements_max=3)], ids=str)
@pytest.mark.parametrize("data", ["x" * 17, "x" * 18, "x" * 19, [[1]], [[[1]]], [1, 2, 3], [1, 2, [3]], {"a": 1, "b": [1, 2]}])
def test_both_parsers_keep_the_limits_that_are_set(limits: Limits, data: object) -> None:
    """A limit of the codec's that a program sets holds for both, to the byte, the level and the element."""
    before = get_default_limits()
    set_default_limits(limits)
    try:
        content = line(data=data)
        assert outcome(parse_record, content) == outcome(judge_record, content)
    finally:
        set_default_limits(before)


@pytest.mark.parametrize("size", range(3800, 4200, 7))
def test_both_parsers_measure_a_record_alike(size: int) -> None:
    """What no commit can hold is refused at the same size."""
    content = line(data="x" * (size - 1024), metadata={"é": "ü"})
    assert outcome(parse_record, content) == outcome(judge_record, content)


@pytest.mark.parametrize("text", EDGES)
def test_both_parsers_read_the_first_and_the_last_nanosecond(text: str) -> None:
    """All of the time that an event can have can be imported."""
    for parse in (parse_record, judge_record):
        assert parse(1, line(timestamp=text), COMMIT_BYTES_MAX).event.time_ns == EDGES[text]
