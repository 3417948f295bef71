"""What codecs are given: payloads of four shapes."""

from __future__ import annotations

from typing import Any

__all__ = ["PAYLOADS"]

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
