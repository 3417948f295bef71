"""What the benches encode, store and read: the payloads of `aether bench`, and where the flights lie."""

from __future__ import annotations

from pathlib import Path

from aether.bench.payloads import PAYLOADS

__all__ = ["FLIGHTS", "PAYLOADS"]

FLIGHTS = Path(__file__).parent / "data" / "flights.ndjson.gz"
"""60,000 flights of 3,210 actors, in their real order."""
