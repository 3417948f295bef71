"""Records as `aether import` takes them: from a file, or made up."""

from __future__ import annotations

import gzip
import json
import uuid
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["records"]

ACTORS = 3_210
BEGIN = datetime(2013, 1, 1, tzinfo=UTC)


def records(file: str | None) -> Iterator[dict[str, Any]]:
    """Read the records of a file packed with gzip, one at a time, or make up records without end."""
    if file is not None:
        with gzip.open(file, "rt", encoding="utf-8") as lines:
            yield from map(json.loads, lines)
        return
    number = 0
    while True:
        yield {
            "id": str(uuid.UUID(int=number + 1, version=4)),
            "actor_id": f"N{number % ACTORS}",
            "event_type": "FlightDeparted",
            "timestamp": (BEGIN + timedelta(minutes=number)).isoformat(),
            "data": {"flight": f"UA{number % 3000}", "origin": "EWR", "destination": "IAH", "delay_min": number % 90},
        }
        number += 1
