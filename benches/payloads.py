"""What the benches encode, store and read: payloads of three shapes, and the flights."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

FLIGHTS = Path(__file__).parent / "data" / "flights.ndjson.gz"

SMALL = {"flight": "UA1545", "origin": "EWR", "delay_min": 2}

NESTED = {
    "order_id": "o-20130101-4711",
    "placed_by": {"name": "Ada Lovelace", "customer": 815, "since": 1843},
    "items": [
        {"sku": f"sku-{number}", "quantity": number, "price": 1.5 * number, "gift": False, "tags": ["new", "fragile"]}
        for number in range(10)
    ],
    "ship_to": {"street": "12 St James's Square", "zip": "SW1Y 4JH", "geo": [51.507, -0.134], "note": None},
}

SENTENCE = "The flight left New York two minutes late and landed in Houston on time. "

LONG_TEXT = {"flight": "UA1545", "report": SENTENCE * 150}

LONG_TEXT_UNICODE = {"flight": "UA1545", "report": f"{SENTENCE}Der Flug verließ Zürich um zwölf für 99 €. " * 100}

PAYLOADS: dict[str, Any] = {"small": SMALL, "nested": NESTED, "long text": LONG_TEXT, "long text with umlauts": LONG_TEXT_UNICODE}


def flights() -> Iterator[dict[str, Any]]:
    """The 60,000 flights, as the file has them, one at a time."""
    with gzip.open(FLIGHTS, "rt", encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)
