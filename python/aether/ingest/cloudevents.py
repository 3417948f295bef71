"""CloudEvents in their JSON form (version 1.0 of the specification), one a line, as records.

`type` is the event's type, `time` its timestamp, `subject` its actor (where there is none, `source`), `data` its data.
`data_base64` of the content type `application/msgpack` is the data as it will be stored, any other is data of bytes. Two
extensions say what CloudEvents have no words for: `aetherversion`, and `aethermetadata`, the metadata as a text of JSON. Where
that is not there, every attribute that has no place of its own becomes metadata: nothing is lost.
"""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Any

import msgspec

from aether import codec
from aether.errors import AetherError
from aether.ingest.chunks import NO_RECORD, Chunk

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from aether.ingest.lines import LineSource

__all__ = ["MSGPACK_TYPE", "CloudEventSource", "record_of_cloud_event"]

MSGPACK_TYPE = "application/msgpack"
JSON_TYPE = "application/json"
NEEDED = ("id", "source", "type", "time")
PLACED = {"specversion", "id", "type", "time", "subject", "data", "data_base64", "aetherversion", "aethermetadata"}


class CloudEventSource:
    """The CloudEvents of an input.

    Args:
        lines: the input's lines.

    Attributes:
        heading: see `Source`; there is none.
    """

    heading = b""

    def __init__(self, lines: LineSource) -> None:
        self._lines = lines

    @property
    def size(self) -> int | None:
        """The file's bytes; None for a pipe."""
        return self._lines.size

    @property
    def done(self) -> int:
        """How many of them were read."""
        return self._lines.done

    async def chunks(self) -> AsyncGenerator[Chunk]:
        """Yield the events that are there, as `Source.chunks` does."""
        async for chunk in self._lines.chunks():
            yield _converted(chunk)


def _converted(chunk: Chunk) -> Chunk:
    problems, originals, records = dict(chunk.problems), dict(chunk.originals), []
    for number, line in enumerate(chunk.content.split(b"\n"), chunk.number):
        record = line
        if line.strip() and number not in problems:
            originals[number] = line
            try:
                record = record_of_cloud_event(line)
            except (ValueError, AetherError, msgspec.MsgspecError) as error:
                problems[number], record = str(error), NO_RECORD
            except RecursionError:
                problems[number], record = "nested too deeply", NO_RECORD
        records.append(record)
    return Chunk(chunk.number, b"\n".join(records), problems, originals)


def record_of_cloud_event(line: bytes) -> bytes:
    """Return a CloudEvent as a record.

    Raises:
        ValueError: it is no CloudEvent, or says of itself what it is not.
        EncodeError: its data cannot be an event's.
    """
    event = msgspec.json.decode(line, type=dict[str, msgspec.Raw])
    attributes = {key: msgspec.json.decode(value) for key, value in event.items() if key != "data"}
    if attributes.get("specversion") != "1.0":
        raise ValueError(f"no CloudEvent of version 1.0: its `specversion` is {attributes.get('specversion')!r}")
    for name in NEEDED:
        if not isinstance(attributes.get(name), str):
            raise ValueError(f"a CloudEvent for an import needs the text `{name}`")  # noqa: TRY004 - a fault of the input
    record: dict[str, Any] = {
        "id": attributes["id"],
        "actor_id": attributes.get("subject") or attributes["source"],
        "event_type": attributes["type"],
        "timestamp": attributes["time"],
        "metadata": _metadata(attributes),
    }
    if (version := attributes.get("aetherversion")) is not None:
        record["version"] = int(version) if isinstance(version, str) and version.isascii() and version.isdigit() else version
    if "data_base64" in attributes:
        if "data" in event:
            raise ValueError("both `data` and `data_base64`")
        record["payload"] = _payload(attributes)
    else:
        record["data"] = event.get("data", msgspec.Raw(b"null"))
    return msgspec.json.encode(record)


def _metadata(attributes: dict[str, Any]) -> Any:  # noqa: ANN401 - what is no mapping of texts, the record's parser refuses
    if "aethermetadata" in attributes:
        return msgspec.json.decode(attributes["aethermetadata"])
    rest = {key: value for key, value in attributes.items() if key not in PLACED and value is not None}
    if rest.get("datacontenttype") in (JSON_TYPE, MSGPACK_TYPE):
        del rest["datacontenttype"]
    if "subject" not in attributes:
        del rest["source"]
    return {key: value if isinstance(value, str) else msgspec.json.encode(value).decode() for key, value in rest.items()}


def _payload(attributes: dict[str, Any]) -> str:
    text = attributes["data_base64"]
    if not isinstance(text, str):
        raise ValueError("`data_base64` is no text")  # noqa: TRY004 - a fault of the input
    if attributes.get("datacontenttype") == MSGPACK_TYPE:
        return text
    try:
        return base64.b64encode(codec.encode(base64.b64decode(text, validate=True))).decode()
    except binascii.Error as error:
        raise ValueError(f"`data_base64` is not base64: {error}") from error
