"""An event as a line of NDJSON and back: what a record holds, and what is wrong with one that does not."""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import math
import re
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import msgspec

from aether import codec
from aether._native import check_actor_id, payload_json, read_record
from aether.errors import AetherError, DecodeError, EncodeError
from aether.event import NewEvent
from aether.store.arguments import (
    VERSION_MAX,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from aether.event import Event

__all__ = [
    "COMMIT_OVERHEAD_BYTES",
    "BadRecordError",
    "Record",
    "format_record",
    "is_json",
    "json_data",
    "judge_record",
    "parse_record",
    "record_of",
    "timestamp_text",
]

COMMIT_OVERHEAD_BYTES = 1024
"""What a commit has around its events, actor id, spine and headers included."""
EVENT_OVERHEAD_BYTES = 96
"""What an event has around its names, data and metadata: keys, marks and numbers."""

TEXT_MARK_BYTES = 5
"""What stands before a text, at most."""

NANOSECOND_DIGITS = 9
MICROSECOND_DIGITS = 6

TIME_NS_MAX = 2**63 - 1

_MICROSECOND = dt.timedelta(microseconds=1)
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_FRACTION = re.compile(r"[.,](\d+)")


class BadRecordError(AetherError):
    """A line that is no record.

    Attributes:
        line: its number, from 1.
        reason: what is wrong with it.
    """

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(line, reason)
        self.line, self.reason = line, reason

    def __str__(self) -> str:
        return f"line {self.line:,}: {self.reason}"


class Record(NamedTuple):
    """An event of the input.

    Attributes:
        line: where it stands, from 1.
        actor_id: whose event it is.
        event: the event, without its place.
        event_id: its id.
        version: the version that it must have; None: the next one.
        size: about how many bytes it takes in a commit, never fewer.
    """

    line: int
    actor_id: str
    event: NewEvent
    event_id: str
    version: int | None
    size: int


class _Fields(msgspec.Struct, forbid_unknown_fields=True):
    id: str
    actor_id: str
    event_type: str
    timestamp: str
    data: Any = msgspec.UNSET
    payload: str | msgspec.UnsetType = msgspec.UNSET
    metadata: dict[str, str] | None = None
    version: int | None = None


_DECODER = msgspec.json.Decoder(_Fields)


def parse_record(number: int, line: bytes, commit_bytes_max: int) -> Record:
    """Read one line.

    Args:
        number: its number, from 1.
        line: a JSON object with `id`, `actor_id`, `event_type`, `timestamp` (ISO 8601 with its zone) and `data`, and where needed
            `metadata` and `version`. In place of `data` a `payload` may stand: what JSON cannot say, as msgpack in base64.
        commit_bytes_max: the largest commit the store takes, in bytes.

    Raises:
        BadRecordError: it is none.
    """
    quick = read_record(line, commit_bytes_max)
    return judge_record(number, line, commit_bytes_max) if quick is None else record_of(number, *quick)


def record_of(number: int, actor_id: str, event: NewEvent, version: int | None, size: int) -> Record:
    """Return what the native parser has read as a record."""
    return Record(number, actor_id, event, event.id, version, size)


def judge_record(number: int, line: bytes, commit_bytes_max: int) -> Record:
    """Read one line as `parse_record` does; this says what a record is, where that only knows how nearly all are written."""
    try:
        fields = _DECODER.decode(line)
        check_actor_id(fields.actor_id)
        event = _event(fields)
    except (msgspec.MsgspecError, ValueError, OverflowError) as error:
        raise BadRecordError(number, str(error)) from error
    except RecursionError as error:
        raise BadRecordError(number, "nested too deeply") from error
    size = EVENT_OVERHEAD_BYTES + len(event.payload) + _text_bytes(fields)
    if size + COMMIT_OVERHEAD_BYTES > commit_bytes_max:
        raise BadRecordError(
            number,
            f"the event takes {size:,} bytes, and a commit of this server's takes {commit_bytes_max - COMMIT_OVERHEAD_BYTES:,}; "
            "raise the server's max_payload",
        )
    return Record(number, fields.actor_id, event, event.id, fields.version, size)


def _event(fields: _Fields) -> NewEvent:
    if (fields.data is msgspec.UNSET) == (fields.payload is msgspec.UNSET):
        raise ValueError("Object missing required field `data`" if fields.data is msgspec.UNSET else "both `data` and `payload`")
    if fields.version is not None and not 1 <= fields.version <= VERSION_MAX:
        raise ValueError(f"version must be 1 to 2**63 - 1, not {fields.version}")
    moment, nanoseconds = _moment(fields.timestamp)
    event = NewEvent(
        fields.event_type,
        None if fields.data is msgspec.UNSET else fields.data,
        id=fields.id,
        timestamp=_EPOCH if nanoseconds else moment,
        metadata=fields.metadata,
    )
    if fields.payload is msgspec.UNSET and not nanoseconds:
        return event
    # The constructor takes data and datetimes; an exact payload and nanoseconds go in as out of a pickle, checked like one.
    restore, parts = cast("tuple[Callable[..., NewEvent], tuple[Any, ...]]", event.__reduce__())
    none, kind, version, payload, event_id, time_ns, *rest = parts
    if fields.payload is not msgspec.UNSET:
        payload = _payload(fields.payload)
    if nanoseconds:
        time_ns = _time_ns(moment, nanoseconds)
    return restore(none, kind, version, payload, event_id, time_ns, *rest)


def _time_ns(moment: dt.datetime, nanoseconds: int) -> int:
    time_ns = (moment - _EPOCH) // _MICROSECOND * 1000 + nanoseconds
    if not -TIME_NS_MAX - 1 <= time_ns <= TIME_NS_MAX:
        raise ValueError("timestamp is outside the years 1677 to 2262 that 64 bits of nanoseconds hold")
    return time_ns


def _payload(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError(f"payload is not base64: {error}") from error


def _moment(text: str) -> tuple[dt.datetime, int]:
    """Return a timestamp to the microsecond, and the nanoseconds below that."""
    nanoseconds = 0
    fraction = _FRACTION.search(text)
    if fraction is not None:
        digits = fraction[1].rstrip("0")
        if len(digits) > NANOSECOND_DIGITS:
            raise ValueError(f"timestamp {text[:60]!a} is finer than a nanosecond")
        nanoseconds = int(digits[MICROSECOND_DIGITS:].ljust(NANOSECOND_DIGITS - MICROSECOND_DIGITS, "0"))
        text = f"{text[: fraction.start()]}.{digits[:MICROSECOND_DIGITS].ljust(MICROSECOND_DIGITS, '0')}{text[fraction.end() :]}"
    try:
        moment = dt.datetime.fromisoformat(text)
    except ValueError as error:
        raise ValueError(f"timestamp {text[:60]!a} is not ISO 8601, as 2013-01-01T10:17:00Z") from error
    if moment.tzinfo is None:
        raise ValueError(f"timestamp {text[:60]!a} has no time zone; write it as in 2013-01-01T10:17:00Z")
    return moment, nanoseconds


def _text_bytes(fields: _Fields) -> int:
    """Return no fewer bytes than the names and the metadata take."""
    texts = [fields.id, fields.event_type]
    if fields.metadata:
        texts += [*fields.metadata, *fields.metadata.values()]
    return TEXT_MARK_BYTES * len(texts) + sum(map(len, map(str.encode, texts)))


def format_record(event: Event) -> bytes:
    """Write an event as a line, without the line's end, from which `parse_record` makes an equal one."""
    fields: dict[str, Any] = {
        "id": event.id,
        "actor_id": event.actor_id,
        "event_type": event.event_type,
        "version": event.version,
        "timestamp": timestamp_text(event.time_ns),
    }
    data = json_data(event)
    if data is None:
        fields["payload"] = base64.b64encode(event.payload).decode()
    else:
        fields["data"] = msgspec.Raw(data)
    if event.metadata:
        fields["metadata"] = event.metadata
    return msgspec.json.encode(fields)


def json_data(event: Event) -> bytes | None:
    """Return an event's data as JSON; None: it holds what JSON would make something else of.

    Such are bytes, moments in time, and what other libraries wrote.
    """
    if (quick := payload_json(event.payload)) is not None:
        return quick
    try:
        data = event.data
        exact = is_json(data) and codec.encode(data) == event.payload
    except (DecodeError, EncodeError):
        return None
    return msgspec.json.encode(data) if exact else None


def timestamp_text(time_ns: int) -> str:
    """Return a moment in nanoseconds since 1970 as ISO 8601 in UTC, as short as it can be."""
    seconds, nanoseconds = divmod(time_ns, 10**NANOSECOND_DIGITS)
    fraction = f".{nanoseconds:0{NANOSECOND_DIGITS}}".rstrip("0").rstrip(".")
    return f"{_EPOCH + dt.timedelta(seconds=seconds):%Y-%m-%dT%H:%M:%S}{fraction}Z"


def is_json(value: object) -> bool:
    """Say whether JSON can say this value so that it comes back equal."""
    if isinstance(value, dict):
        return all(isinstance(key, str) and is_json(held) for key, held in value.items())
    if isinstance(value, list):
        return all(is_json(held) for held in value)
    return value is None or isinstance(value, bool | int | str) or (isinstance(value, float) and math.isfinite(value))
