"""An event, a new event and a snapshot with every field given, and the tests' marks for each of them."""

from __future__ import annotations

import datetime as dt

import pytest

from aether import Event, NewEvent, Snapshot

AT = dt.datetime(2026, 11, 24, 16, 7, 1, 123_456, tzinfo=dt.UTC)
AT_NS = 1_795_536_421_123_456_000
ID = "59679dbb-4e81-5039-952e-0842fb6bc8bf"
METADATA = {"correlation_id": "c", "causation_id": "é", "command_id": "", "zz": "日本"}
DATA = {"total": 9999, "items": [{"sku": "pen", "price": 1.5}], "note": None, "raw": b"\0\xff", "at": AT}


def event(**changed) -> Event:
    """An event with every field given."""
    given = {"actor_id": "order-1", "event_type": "OrderPlaced", "version": 3, "data": DATA, "id": ID}
    return Event(**{**given, "timestamp": AT, "metadata": METADATA, **changed})


def draft(**changed) -> NewEvent:
    """A new event with every field given."""
    return NewEvent(**{"event_type": "OrderPlaced", "data": DATA, "id": ID, "timestamp": AT, "metadata": METADATA, **changed})


def snapshot(**changed) -> Snapshot:
    """A snapshot with every field given."""
    return Snapshot(**{"actor_id": "order-1", "version": 3, "state": DATA, "timestamp": AT, **changed})


VALUES = pytest.mark.parametrize("make", [event, draft, snapshot])
EVENTS = pytest.mark.parametrize("make", [event, draft])
