"""Events as text: the forms of an export, each of which an import reads back as equal events."""

from __future__ import annotations

import base64
import csv
import io
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from aether._native import format_records
from aether.ingest.cloudevents import MSGPACK_TYPE
from aether.ingest.records import format_record, json_data, timestamp_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from aether.event import Event
    from aether.store.base import PlacedBatch

__all__ = ["TextForm", "text_form"]

CSV_COLUMNS = ("position", "id", "actor_id", "event_type", "version", "timestamp", "data", "payload", "metadata")


class TextForm(NamedTuple):
    """A form that is text.

    Attributes:
        heading: what stands before the first event.
        rows: makes the bytes of events.
    """

    heading: bytes
    rows: Callable[[PlacedBatch], bytes]


def text_form(form: str, namespace: str) -> TextForm:
    """Return a form by its name, "ndjson", "cloudevents" or "csv".

    Args:
        form: the name.
        namespace: where the events are from.
    """
    if form == "csv":
        return TextForm(_csv([CSV_COLUMNS]), lambda batch: _csv(map(_cells, batch.positions, batch)))
    if form == "cloudevents":
        source = f"/aether/{namespace}"
        return TextForm(b"", lambda events: b"".join(_cloud_event(event, source) + b"\n" for event in events))
    return TextForm(b"", _lines)


def _lines(events: Sequence[Event]) -> bytes:
    events, lines, index = list(events), [], 0
    while index < len(events):
        made, following = format_records(events, index)
        if following == index:
            made, following = format_record(events[index]) + b"\n", index + 1
        lines.append(made)
        index = following
    return b"".join(lines)


def _cloud_event(event: Event, source: str) -> bytes:
    fields: dict[str, Any] = {
        "specversion": "1.0",
        "id": event.id,
        "source": source,
        "type": event.event_type,
        "subject": event.actor_id,
        "time": timestamp_text(event.time_ns),
        "aetherversion": str(event.version),
        # Also where it is empty: without it an import takes attributes that have no other place as metadata.
        "aethermetadata": msgspec.json.encode(event.metadata).decode(),
    }
    data = json_data(event)
    if data is None:
        fields |= {"datacontenttype": MSGPACK_TYPE, "data_base64": base64.b64encode(event.payload).decode()}
    else:
        fields |= {"datacontenttype": "application/json", "data": msgspec.Raw(data)}
    return msgspec.json.encode(fields)


def _cells(position: int, event: Event) -> tuple[object, ...]:
    data, metadata = json_data(event), event.metadata
    return (
        position,
        event.id,
        event.actor_id,
        event.event_type,
        event.version,
        timestamp_text(event.time_ns),
        "" if data is None else data.decode(),
        base64.b64encode(event.payload).decode() if data is None else "",
        msgspec.json.encode(metadata).decode() if metadata else "",
    )


def _csv(rows: Iterable[Iterable[object]]) -> bytes:
    text = io.StringIO(newline="")
    # The ends of lines as RFC 4180 has them: cells with either of both characters are then quoted.
    csv.writer(text, lineterminator="\r\n").writerows(rows)
    return text.getvalue().encode()
