"""Made the golden files, once, with stock msgpack and zlib: `python3 make_golden.py` writes those that are not there yet.

A file that was ever released never changes, and every version of Aether reads it. A later format gets files of its own.
`COMMITS`, `SNAPSHOTS`, `REPLIES` and `RECORDS` say what each file holds.
"""

from __future__ import annotations

import datetime as dt
import zlib
from pathlib import Path
from typing import Any

import msgpack

HERE = Path(__file__).parent
AT = dt.datetime(2026, 11, 24, 16, 7, 1, 123_456, tzinfo=dt.UTC)
UUID = bytes.fromhex("59679dbb4e815039952e0842fb6bc8bf")


def event(version: int, data: Any = None, **changed: Any) -> dict[str, Any]:
    """An event as the map it is, its keys in the order that Aether writes."""
    fields = {
        "id": UUID[:-1] + bytes([version % 256]),
        "type": "OrderPlaced",
        "version": version,
        "time": 1_795_536_421_123_456_789,
    }
    return {**fields, "data": data, "meta": {}, **changed}


MANY = [event(version, {"line": version, "note": "é" * version}) for version in range(11, 42)]

KINDS = {
    "nothing": None,
    "truth": [True, False],
    "numbers": [
        0,
        127,
        128,
        255,
        256,
        65_535,
        65_536,
        2**32 - 1,
        2**32,
        2**64 - 1,
        -1,
        -32,
        -33,
        -128,
        -129,
        -(2**15),
        -(2**31),
        -(2**63),
    ],
    "floats": [0.0, -0.0, 1.5, 5e-324, 1.7976931348623157e308],
    "texts": ["", "a" * 31, "a" * 32, "日本語", "🙂" * 64, "\0\n"],
    "bytes": [b"", b"\xff" * 255, b"\0" * 256],
    "times": [AT, AT.replace(microsecond=0), AT.replace(year=1969), AT.replace(year=2600)],
    "nested": {"a": [{"b": [[], {}]}]},
}

COMMITS: dict[str, dict[str, Any]] = {
    "one-event": {"actor": "order-123", "events": [event(1, {"total_cents": 9999, "items": ["pen"]})], "spine": []},
    "many-events": {"actor": "order-123", "events": MANY, "spine": [[5, 1]]},
    "all-kinds-of-data": {"actor": "order-123", "events": [event(1, KINDS)], "spine": []},
    "metadata": {
        "actor": "order-123",
        "events": [
            event(1, meta={"causation_id": "b", "command_id": "c", "correlation_id": "a", "tenant": "日本"}),
            event(2, meta={"k": "v" * 300}),
        ],
        "spine": [],
    },
    "spine": {"actor": "order-123", "events": [event(9)], "spine": [[1_000_000, 3], [70_000, 3], [300, 7], [5, 15]]},
    "epoch": {"actor": "order-123", "events": [event(2)], "spine": [[8, 1]], "epoch": 70_001},
    "repair": {"actor": "order-123", "events": [], "spine": [[8, 1]], "passed": [9, 300], "version": 5},
    "passed-and-event": {"actor": "order-123", "events": [event(6)], "spine": [[10, 1], [8, 1]], "passed": [9]},
    "no-spine": {"actor": "order-123", "events": [event(1)]},
    "bus-event": {"actor": "order.1/é", "events": [event(3, {"total_cents": 9999}, type="Order placed", meta={"k": "v"})]},
    "unknown-keys": {
        "actor": "order-123",
        "events": [event(1, later="kept", nested={"x": [1, {}]})],
        "spine": [],
        "later": {"than": ["this"]},
        "latest": None,
    },
    "string-ids": {
        "actor": "日本 *.>",
        "events": [
            event(1, id="59679DBB-4E81-5039-952E-0842FB6BC8BF", type="t"),
            event(2, id="x" * 255, type="日本" * 42),
            event(2**64 - 1, id="\0", time=-(2**63)),
        ],
        "spine": [],
    },
}

SNAPSHOTS: dict[str, dict[str, Any]] = {
    "snapshot": {
        "actor": "order-123",
        "version": 3,
        "time": 1_795_536_421_123_456_789,
        "state": {"status": "shipped", "total_cents": 9999, "at": AT},
    }
}

REPLIES: dict[str, dict[str, Any]] = {
    "bus-reply": {"value": {"accepted": True, "at": AT, "left": [None, 2**63]}},
    "bus-reply-nothing": {"value": None},
    "bus-reply-error": {"error": "OutOfStockError: 日本"},
}

RECORDS: dict[str, dict[str, Any]] = {
    "epoch-record": {"node": "node-1.berlin/é", "incarnation": 70_000},
    "epoch-record-unknown-keys": {"node": "n", "incarnation": 2**64 - 1, "later": {"than": ["this"]}},
}


def body_of(fields: dict[str, Any]) -> bytes:
    """Frame the fields: `format` first, and last the checksum of every byte before its key, always in five bytes."""
    packed: bytes = msgpack.packb({"format": 1, **fields, "crc": 0}, datetime=True).removesuffix(b"\xa3crc\x00")
    return packed + b"\xa3crc\xce" + zlib.crc32(packed).to_bytes(4, "big")


def path_of(name: str) -> Path:
    """Where the file of this name lies."""
    return HERE / f"format-1-{name}.msgpack"


if __name__ == "__main__":
    for name, fields in {**COMMITS, **SNAPSHOTS, **REPLIES, **RECORDS}.items():
        if not path_of(name).exists():
            path_of(name).write_bytes(body_of(fields))
