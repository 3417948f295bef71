"""The codec's limits: each allows exactly what it says, both ways, and false claims cost nothing."""

from __future__ import annotations

import dataclasses
import pickle
import tracemalloc

import msgpack
import pytest

from aether import DecodeError, EncodeError, Event, codec


def nested(depth: int) -> object:
    """A value with so many containers within containers."""
    value: object = None
    for level in range(depth):
        value = [value] if level % 2 else {"k": value}
    return value


@pytest.mark.parametrize(
    ("limits", "fits", "passes", "reason"),
    [
        ({}, "x" * 999_995, "x" * 999_996, "1000000 bytes"),
        ({}, b"x" * 999_995, b"x" * 999_996, "1000000 bytes"),
        ({}, nested(32), nested(33), "32 levels"),
        ({}, [[None] * 49_999] * 2, [[None] * 49_999, [None] * 50_000], "100000 elements"),
        ({}, {str(n): None for n in range(100_000)}, {str(n): None for n in range(100_001)}, "100000 elements"),
        ({"payload_bytes_max": 3}, [1, 2], [1, 2, 3], "3 bytes"),
        ({"depth_max": 0}, "scalar", [], "0 levels"),
        ({"depth_max": 512, "payload_bytes_max": 2000}, nested(512), nested(513), "512 levels"),
        ({"elements_max": 0}, [], [1], "0 elements"),
        ({"payload_bytes_max": 2_000_000}, "x" * 1_999_995, "x" * 1_999_996, "2000000 bytes"),
    ],
)
def test_limits(limits, fits, passes, reason):
    """Each limit allows exactly what it says, for encoding and for decoding, and its refusal names it."""
    limits = codec.Limits(**limits)
    body = codec.encode(fits, limits=limits)
    assert codec.decode(body, limits=limits) == fits
    assert len(body) <= limits.payload_bytes_max
    with pytest.raises(EncodeError, match=reason):
        codec.encode(passes, limits=limits)
    wide = codec.Limits(payload_bytes_max=2**32 - 1, depth_max=512, elements_max=2**32 - 1)
    body = msgpack.packb(passes) if "512" in reason else codec.encode(passes, limits=wide)
    with pytest.raises(DecodeError, match=reason.split()[0]):
        codec.decode(body, limits=limits)


def test_default_limits_hold_for_codec_and_events():
    """The default limits can be set, and hold for calls that name none and for the data of events."""
    usual = codec.get_default_limits()
    assert usual == codec.Limits() == codec.Limits(payload_bytes_max=1_000_000, depth_max=32, elements_max=100_000)
    codec.set_default_limits(codec.Limits(depth_max=1))
    try:
        assert codec.get_default_limits().depth_max == 1
        with pytest.raises(EncodeError, match="deeper than 1 levels"):
            codec.encode([[]])
        with pytest.raises(EncodeError, match="deeper than 1 levels"):
            Event("a", "t", 1, [[]])
        with pytest.raises(DecodeError, match="deeper than 1 levels"):
            codec.decode(b"\x91\x90")
        assert codec.encode([[]], limits=usual) == b"\x91\x90"
    finally:
        codec.set_default_limits(usual)


@pytest.mark.parametrize(
    "wrong", [{"payload_bytes_max": 0}, {"payload_bytes_max": 2**32}, {"depth_max": 513}, {"depth_max": -1}, {"elements_max": -1}]
)
def test_limits_have_limits(wrong):
    """A limit out of its range is a ValueError that names the range."""
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} must be from"):
        codec.Limits(**wrong)


def test_limits_are_values():
    """Limits are frozen, equal by value, hashable, and survive pickling."""
    limits = codec.Limits(depth_max=5)
    assert limits == codec.Limits(depth_max=5) != codec.Limits()
    assert len({limits, codec.Limits(depth_max=5)}) == 1
    assert pickle.loads(pickle.dumps(limits)) == limits
    assert repr(limits) == "Limits(payload_bytes_max=1000000, depth_max=5, elements_max=100000)"
    with pytest.raises(AttributeError):
        limits.depth_max = 6


@pytest.mark.parametrize("mark", [b"\xdd", b"\xdf", b"\xdb", b"\xc6", b"\xc9"])
def test_false_lengths_cost_nothing(mark):
    """A length of four thousand million that is not there is refused before anything is reserved for it."""
    limits = codec.Limits(payload_bytes_max=2**32 - 1, elements_max=2**32 - 1)
    padded = mark + b"\xff" * 4 + b"\xc0" * 1000
    tracemalloc.start()
    try:
        with pytest.raises(DecodeError, match="announced"):
            codec.decode(padded, limits=limits)
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()


@dataclasses.dataclass
class Node:
    """A value that can hold itself."""

    next: Node | None = None


def test_typed_values_count_their_depth():
    """A dataclass that holds itself is refused by depth, like a dict."""
    node = Node()
    node.next = node
    with pytest.raises(EncodeError) as caught:
        codec.encode(node)
    assert caught.value.path == "data" + ".next" * 32
