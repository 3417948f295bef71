"""The codec against msgpack, ormsgpack and msgspec, on data that hypothesis makes up."""

from __future__ import annotations

import math

import msgpack
import msgspec
import ormsgpack
from hypothesis import strategies as st
from plain_data import always, as_read, floats, integers, leaves, spelled, texts, values

from aether import DecodeError, EncodeError, codec

extensions = st.builds(msgpack.ExtType, st.integers(0, 127), st.binary(max_size=20))
keys = st.one_of(texts, integers, floats, st.booleans(), st.none(), st.binary(), st.tuples(integers, texts, st.tuples(texts)))
foreign = st.recursive(
    st.one_of(leaves, st.just(math.nan), st.just(-math.inf), extensions),
    lambda inner: st.one_of(st.lists(inner), st.dictionaries(keys, inner)),
    max_leaves=25,
)


def as_tuples(value: object) -> object:
    """Return a value with tuples for lists, and with extensions as tuples."""
    if isinstance(value, msgspec.msgpack.Ext):
        return ("ext", value.code, bytes(value.data))
    if isinstance(value, dict):
        return {as_tuples(key): as_tuples(held) for key, held in value.items()}
    return tuple(as_tuples(held) for held in value) if isinstance(value, list | tuple) else value


def offset_of_error(body: bytes) -> int:
    """Return where the bytes are refused; -1 if they are read."""
    try:
        codec.decode(body)
    except DecodeError as error:
        return error.offset
    return -1


def test_encoding_equals_msgpack(size):
    """For plain data encode writes what msgpack.packb writes, byte for byte."""

    def equal(value):
        assert codec.encode(value) == msgpack.packb(value, datetime=True)

    always(size, values, equal)


def test_values_come_back(size):
    """Decoding gives back what was encoded: types, signs of zero and the order of keys included."""

    def comes_back(value):
        assert spelled(codec.decode(codec.encode(value))) == spelled(as_read(value))

    always(size, values, comes_back)


def test_decoding_equals_msgpack(size):
    """What msgpack wrote is read as msgpack reads it, with keys, floats and extensions that encode refuses."""

    def equal(value):
        body = msgpack.packb(value, datetime=True)
        theirs = msgpack.unpackb(
            body, timestamp=3, strict_map_key=False, use_list=False, ext_hook=lambda kind, data: ("ext", kind, data)
        )
        assert spelled(as_tuples(codec.decode(body))) == spelled(theirs)

    always(size, foreign, equal)


def test_decodes_what_msgspec_wrote(size):
    """What msgspec wrote is read as the value that went in."""

    def equal(value):
        assert spelled(codec.decode(msgspec.msgpack.encode(value))) == spelled(as_read(value))

    always(size, values, equal)


def test_decodes_what_ormsgpack_wrote(size):
    """What ormsgpack wrote is read as msgpack reads it (which is not always what went in: it drops some microseconds)."""

    def equal(value):
        body = ormsgpack.packb(value, option=ormsgpack.OPT_DATETIME_AS_TIMESTAMP_EXT)
        assert spelled(codec.decode(body)) == spelled(msgpack.unpackb(body, timestamp=3))

    always(size, values, equal)


def test_any_bytes_are_read_or_refused(size):
    """Whatever the bytes, decode returns a value or raises DecodeError with an offset within them."""

    def read_or_refused(body):
        assert offset_of_error(body) in range(-1, len(body) + 1)

    always(size, st.binary(max_size=400), read_or_refused)


def test_damaged_bytes_are_read_or_refused(size):
    """A good payload with one byte changed, or cut short, is read or refused, and never anything else."""

    def read_or_refused(case):
        value, place, byte, end = case
        body = bytearray(codec.encode(value))
        body[place % len(body)] = byte
        for damaged in (bytes(body), bytes(body[: end % len(body)])):
            assert offset_of_error(damaged) in range(-1, len(damaged) + 1)

    always(size, st.tuples(values, st.integers(0), st.integers(0, 255), st.integers(0)), read_or_refused)


def test_limits_say_the_same_on_both_sides(size):
    """A value is encoded within limits exactly if its bytes are decoded within the same limits."""

    def agree(case):
        value, bytes_max, depth_max, elements_max = case
        limits = codec.Limits(payload_bytes_max=bytes_max, depth_max=depth_max, elements_max=elements_max)
        body = codec.encode(value)
        try:
            encoded = codec.encode(value, limits=limits) == body
        except EncodeError:
            encoded = False
        try:
            decoded = spelled(codec.decode(body, limits=limits)) == spelled(as_read(value))
        except DecodeError:
            decoded = False
        assert encoded == decoded

    always(size, st.tuples(values, st.integers(1, 60), st.integers(0, 4), st.integers(0, 12)), agree)
