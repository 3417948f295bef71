"""The codec beside ormsgpack (Rust, no limits to check) and msgpack (C), on small, nested and long payloads.

`pytest benches/bench_codec.py -n0 --benchmark-enable` shows absolute times, `python benches/bench_codec.py` the ratios and
targets, as `aether bench codec` does.
"""

from __future__ import annotations

import sys
from typing import Any

import pytest

from aether import codec
from aether.bench.codec import codecs, lines
from payloads import PAYLOADS
from reporting import report

CODECS = codecs()


@pytest.mark.parametrize("payload", PAYLOADS)
@pytest.mark.parametrize("library", ["aether", "ormsgpack", "msgpack"])
def test_encode(benchmark: Any, library: str, payload: str) -> None:
    """All three write the same bytes."""
    value = PAYLOADS[payload]
    assert benchmark(CODECS[library][0], value) == codec.encode(value)


@pytest.mark.parametrize("payload", PAYLOADS)
@pytest.mark.parametrize("library", ["aether", "ormsgpack", "msgpack"])
def test_decode(benchmark: Any, library: str, payload: str) -> None:
    """All three read the same value."""
    value = PAYLOADS[payload]
    assert benchmark(CODECS[library][1], codec.encode(value)) == value


if __name__ == "__main__":
    sys.exit(report("codec", ["aether-events", "ormsgpack", "msgpack"], lines))
