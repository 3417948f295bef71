"""The codec beside ormsgpack (Rust, no limits to check) and msgpack (C), on small, nested and long payloads.

`pytest benches/bench_codec.py --benchmark-enable` shows absolute times, `python benches/bench_codec.py` the ratios and targets.
"""

from __future__ import annotations

import sys
from typing import Any

import msgpack
import ormsgpack
import pytest

from aether import codec
from aether.bench.measure import CPU, Line, Target, compare, repeated
from payloads import PAYLOADS
from reporting import report

ENCODERS = {"aether": codec.encode, "ormsgpack": ormsgpack.packb, "msgpack": msgpack.packb}
DECODERS = {"aether": codec.decode, "ormsgpack": ormsgpack.unpackb, "msgpack": msgpack.unpackb}

NO_SLOWER = Target("faster", 1)
TWICE = Target("faster", 2)


@pytest.mark.parametrize("payload", PAYLOADS)
@pytest.mark.parametrize("library", ENCODERS)
def test_encode(benchmark: Any, library: str, payload: str) -> None:
    """All three write the same bytes."""
    value = PAYLOADS[payload]
    assert benchmark(ENCODERS[library], value) == codec.encode(value)


@pytest.mark.parametrize("payload", PAYLOADS)
@pytest.mark.parametrize("library", DECODERS)
def test_decode(benchmark: Any, library: str, payload: str) -> None:
    """All three read the same value."""
    value = PAYLOADS[payload]
    assert benchmark(DECODERS[library], codec.encode(value)) == value


async def lines(size: str) -> list[Line]:
    """Every payload, both ways."""
    repetitions = {"quick": 15, "ci": 41, "full": 201}[size]
    found = []
    for name, value in PAYLOADS.items():
        encoded = codec.encode(value)
        operations = max(20, 200_000 // len(encoded))
        twice = [TWICE] if name in ("small", "nested") else []
        for verb, functions, argument in (("encode", ENCODERS, value), ("decode", DECODERS, encoded)):
            ours, *others = (repeated(function, argument, operations, library) for library, function in functions.items())
            targets = [[NO_SLOWER], twice if verb == "encode" else []]
            found += await compare(f"{verb} {name}", ours, others, repetitions=repetitions, clock=CPU, targets=targets)
    return found


if __name__ == "__main__":
    sys.exit(report("codec", ["aether-events", "ormsgpack", "msgpack"], lines))
