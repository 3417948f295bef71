"""The codec by example: what is refused and where, and other libraries' bytes."""

from __future__ import annotations

import array
import collections
import datetime as dt
import decimal
import enum
import math
import pathlib
import types
import uuid
from typing import NamedTuple

import msgpack
import msgspec
import pytest

from aether import DecodeError, EncodeError, codec

CYCLE: list[object] = []
CYCLE.append({"self": CYCLE})
DEEP: list[object] = []
for _ in range(10_000):
    DEEP = [DEEP]


class Color(enum.Enum):
    """An enum whose members are no plain values."""

    RED = "red"


REFUSED = {
    "cycle": (CYCLE, "data" + "[0].self" * 16, "holds itself"),
    "depth": (DEEP, "data" + "[0]" * 32, "deeper than 32"),
    "nan": ({"a": [1.0, math.nan]}, "data.a[1]", "NaN"),
    "infinity": ({"a": {"b": math.inf}}, "data.a.b", "inf"),
    "minus infinity": ((-math.inf,), "data[0]", "-inf"),
    "2**64": ({"n": 2**64}, "data.n", "2**64 - 1"),
    "-2**63 - 1": ({"n": -(2**63) - 1}, "data.n", "-2**63"),
    "huge int": ([10**10_000], "data[0]", "store it as a str"),
    "set": ({"tags": {"a", "b"}}, "data.tags", "sorted"),
    "frozenset": ([frozenset()], "data[0]", "sorted"),
    "naive datetime": ({"at": dt.datetime(2026, 1, 1)}, "data.at", "naive datetime"),  # noqa: DTZ001 - that is the point
    "date": ({"on": dt.date(2026, 1, 1)}, "data.on", "isoformat"),
    "time": ({"at": dt.time(1)}, "data.at", "isoformat"),
    "timedelta": ({"for": dt.timedelta(1)}, "data.for", "total_seconds"),
    "int key": ({"a": {1: 2}}, "data.a", "the key 1 is not a str"),
    "bytes key": ({b"k": 2}, "data", "the key b'k' is not a str"),
    "None key": ({None: 2}, "data", "the key None is not a str"),
    "surrogate": ({"t": ["\ud800"]}, "data.t[0]", "lone surrogate"),
    "surrogate key": ({"a": {"\udfff": 1}}, "data.a", "a key with a lone surrogate"),
    "bytearray": ({"b": bytearray(b"x")}, "data.b", "bytes(value)"),
    "memoryview": ({"b": memoryview(b"x")}, "data.b", "bytes(value)"),
    "decimal": ([{"price": decimal.Decimal(1)}], "data[0].price", "str(value)"),
    "uuid": ([uuid.UUID(int=0)], "data[0]", "str(value)"),
    "enum": ([Color.RED], "data[0]", ".value"),
    "complex": ([1j], "data[0]", "value.real"),
    "path": ([pathlib.Path("x")], "data[0]", "os.fspath"),
    "mapping": ([types.MappingProxyType({})], "data[0]", "dict(value)"),
    "generator": ([iter([1])], "data[0]", "list(value)"),
    "deque": ([collections.deque()], "data[0]", "list(value)"),
    "array": ([array.array("i")], "data[0]", "list(value)"),
    "class": ([int], "data[0]", "the class int; store an instance of it, or its name"),
    "object": ([object()], "data[0]", "event data holds None"),
    "ext": ([msgspec.msgpack.Ext(1, b"")], "data[0]", "event data holds None"),
    "key that is no name": ({"a b": {"": {"0": {"é_1": [object()]}}}}, 'data["a b"][""]["0"].é_1[0]', "event data holds"),
}


@pytest.mark.parametrize(("value", "path", "reason"), REFUSED.values(), ids=REFUSED)
def test_refused(value, path, reason):
    """What data may not hold is an EncodeError with the exact path to it and what to do instead."""
    with pytest.raises(EncodeError) as caught:
        codec.encode(value)
    assert caught.value.path == path
    assert reason in caught.value.reason
    assert str(caught.value) == f"{path}: {caught.value.reason}"


class Text(str):
    """A str that says that it is another."""

    __slots__ = ()

    def __str__(self) -> str:
        return "another text"


class Number(int):
    """An int that says that it is another."""

    def __int__(self) -> int:
        return 99

    def __index__(self) -> int:
        return 99


class Real(float):
    """A float that says that it is another."""

    def __float__(self) -> float:
        return 99.0


class Words(list):
    """A list that iterates over other items."""

    def __iter__(self):
        return iter(["other", "words"])


class Count(enum.IntEnum):
    """Numbers with names."""

    ONE = 1


class Word(enum.StrEnum):
    """Texts with names."""

    HELLO = "hello"


class Flags(enum.IntFlag):
    """Numbers with names that add up."""

    A = 1
    B = 2


class Pair(NamedTuple):
    """A tuple with names."""

    left: int
    right: int


MOVED = collections.OrderedDict(a=1, b=2)
MOVED.move_to_end("a")

SUBCLASSES = {
    "str": (Text("text"), "text"),
    "str key": ({Text("k"): 1}, {"k": 1}),
    "int": (Number(5), 5),
    "float": (Real(0.5), 0.5),
    "list": (Words(["w"]), ["w"]),
    "IntEnum": (Count.ONE, 1),
    "StrEnum": (Word.HELLO, "hello"),
    "StrEnum key": ({Word.HELLO: 1}, {"hello": 1}),
    "IntFlag": (Flags.A | Flags.B, 3),
    "bool": ([True, False], [True, False]),
    "namedtuple": (Pair(1, 2), [1, 2]),
    "OrderedDict": (MOVED, {"b": 2, "a": 1}),
    "defaultdict": (collections.defaultdict(int, a=1), {"a": 1}),
    "Counter": (collections.Counter("aab"), {"a": 2, "b": 1}),
}


@pytest.mark.parametrize(("value", "plain"), SUBCLASSES.values(), ids=SUBCLASSES)
def test_subclasses_of_plain_types(value, plain):
    """A subclass of a plain type is written as what it is made of, whatever its methods say, in the order it says."""
    back = codec.decode(codec.encode(value))
    assert repr(back) == repr(plain)
    assert codec.encode(value) == msgpack.packb(plain)


LENGTHS = [0, 1, 7, 8, 15, 16, 17, 31, 32, 33, 63, 64, 65, 255, 256, 65_535, 65_536]


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("letter", ["a", *"\x7f\x80éÿĀ\u07ff\u0800日\uffff\U00010000🙂\U0010ffff"])
def test_text_of_every_width_and_length(letter, length):
    """Text of every width of character comes back equal and in the form that Python itself would give it, as value and as key."""
    for text in (letter * length, "a" * length + letter, letter + "a" * length):
        assert codec.encode(text) == msgpack.packb(text)
        (key, value), *_ = codec.decode(codec.encode({text: text})).items()
        for back in (key, value):
            assert back == text
            assert hash(back) == hash(text)
            # Both are as wide as their widest character; a str that was ever encoded keeps its UTF-8.
            assert abs(back.__sizeof__() - text.__sizeof__()) in (0, len(text.encode()) + 1)
            assert back.isascii() == text.isascii()
            assert (back + "日").encode() == (text + "日").encode()


@pytest.mark.parametrize("edge", [0, 31, 32, 127, 128, 255, 256, 2**15, 2**16 - 1, 2**16, 2**31, 2**32 - 1, 2**32, 2**63])
def test_integers_at_the_edges_of_their_forms(edge):
    """Integers around each change of form are those of msgpack and come back."""
    for number in (edge, edge + 1, -edge, -edge + 1, -edge - 1):
        if -(2**63) <= number < 2**64:
            assert codec.encode(number) == msgpack.packb(number)
            assert codec.decode(codec.encode(number)) == number


@pytest.mark.parametrize("length", [0, 15, 16, 255, 256, 65_535, 65_536])
def test_containers_at_the_edges_of_their_forms(length):
    """Lists, dicts and bytes around each change of form are those of msgpack and come back."""
    for value in ([None] * length, {str(n): n for n in range(length)}, b"x" * length):
        assert codec.encode(value) == msgpack.packb(value)
        assert codec.decode(codec.encode(value)) == value


MOMENTS = {
    "epoch": dt.datetime(1970, 1, 1, tzinfo=dt.UTC),
    "microseconds": dt.datetime(2026, 11, 24, 16, 7, 1, 999_999, tzinfo=dt.UTC),
    "32 bits end": dt.datetime(2106, 2, 7, 6, 28, 16, tzinfo=dt.UTC),
    "34 bits end": dt.datetime(2514, 5, 30, 1, 53, 3, 999_999, tzinfo=dt.UTC),
    "34 bits are over": dt.datetime(2514, 5, 30, 1, 53, 4, tzinfo=dt.UTC),
    "before 1970": dt.datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=dt.UTC),
    "first": dt.datetime.min.replace(tzinfo=dt.UTC),
    "last": dt.datetime.max.replace(tzinfo=dt.UTC),
    "zone": dt.datetime(2026, 6, 1, tzinfo=dt.timezone(dt.timedelta(hours=5, minutes=30))),
}


@pytest.mark.parametrize("moment", MOMENTS.values(), ids=MOMENTS)
def test_datetimes(moment):
    """An aware datetime is the extension that msgpack writes for it, and comes back as the same moment in UTC."""
    assert codec.encode(moment) == msgpack.packb(moment, datetime=True)
    back = codec.decode(codec.encode(moment))
    assert back == moment
    assert back.tzinfo is dt.UTC


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (msgpack.Timestamp(1, 999_999_999), dt.datetime(1970, 1, 1, 0, 0, 1, 999_999, tzinfo=dt.UTC)),
        (msgpack.Timestamp(-62_135_596_801, 0), None),
        (msgpack.Timestamp(253_402_300_800, 0), None),
        (msgpack.Timestamp(-(2**63), 0), None),
        (msgpack.Timestamp(2**63 - 1, 999_999_999), None),
    ],
)
def test_timestamps_that_no_datetime_holds(body, value):
    """Nanoseconds are cut off; a timestamp outside the years 1 to 9999 stays the extension that it is."""
    back = codec.decode(msgpack.packb(body))
    if value is None:
        assert isinstance(back, msgspec.msgpack.Ext)
        assert (back.code, bytes(back.data)) == (-1, body.to_bytes())
    else:
        assert back == value


NO_TIMESTAMPS = [b"\xd7\xff\xff\xff\xff\xff\0\0\0\0", b"\xd5\xff\0\0", b"\xc7\x00\xff", b"\xc7\x0c\xff" + b"\xff" * 12]


@pytest.mark.parametrize("body", NO_TIMESTAMPS)
def test_timestamps_that_are_none(body):
    """Bytes marked as a timestamp that are none stay the extension that they are."""
    back = codec.decode(body)
    assert isinstance(back, msgspec.msgpack.Ext)
    assert back.code == -1


def test_foreign_values():
    """Decoding takes what encode refuses: NaN, short floats, keys that are no str, extensions."""
    assert math.isnan(codec.decode(msgpack.packb(math.nan)))
    assert codec.decode(msgpack.packb(0.5, use_single_float=True)) == 0.5
    assert codec.decode(msgpack.packb({1: 2, None: 3, b"b": 4, (1, ("a",)): 5})) == {1: 2, None: 3, b"b": 4, (1, ("a",)): 5}
    (ext,) = codec.decode(msgpack.packb([msgpack.ExtType(7, b"seven")]))
    assert (ext.code, ext.data) == (7, b"seven")


@pytest.mark.parametrize("key", [b"\x80", b"\x81\xa1a\x01", b"\x91\x80", b"\xd4\x05\x00"])
def test_keys_that_python_cannot_hold(key):
    """A map or an extension as a key is a DecodeError, not a TypeError."""
    with pytest.raises(DecodeError, match="cannot hold as a key") as caught:
        codec.decode(b"\x92\xc0\x81" + key + b"\x01")
    assert caught.value.offset == 3


DAMAGED = {
    "nothing": (b"", 0, "0 are left"),
    "unused mark": (b"\x91\xc1", 1, "no msgpack mark"),
    "something behind": (b"\xc0\xc0\xc0", 1, "2 bytes follow"),
    "cut number": (b"\xcf\0\0", 1, "are left"),
    "cut string": (b"\xa3ab", 1, "3 bytes announced, 2 are left"),
    "cut list": (b"\x93\xc0", 1, "3 items announced, 1 bytes are left"),
    "cut map": (b"\x82\xa1a\xc0", 1, "2 items announced, 3 bytes are left"),
    "no UTF-8": (b"\x91\xa3a\xff\xfe", 3, "not UTF-8"),
    "surrogate": (b"\xa3\xed\xa0\x80", 1, "not UTF-8"),
    "overlong": (b"\xa2\xc0\x80", 1, "not UTF-8"),
    "long no UTF-8": (b"\xd9\x28" + b"a" * 39 + b"\x80", 41, "not UTF-8"),
}


@pytest.mark.parametrize(("body", "offset", "reason"), DAMAGED.values(), ids=DAMAGED)
def test_damaged_bytes(body, offset, reason):
    """Bytes that are no msgpack are a DecodeError that says where and what is wrong."""
    with pytest.raises(DecodeError) as caught:
        codec.decode(body)
    assert caught.value.offset == offset
    assert reason in caught.value.reason


@pytest.mark.parametrize("not_bytes", ["text", bytearray(b"\xc0"), memoryview(b"\xc0"), None, 5])
def test_decode_takes_bytes(not_bytes):
    """Anything but bytes is a TypeError."""
    with pytest.raises(TypeError):
        codec.decode(not_bytes)
