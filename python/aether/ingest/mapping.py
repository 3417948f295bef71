"""Rows of named columns as records: which column is which field."""

from __future__ import annotations

import base64
import datetime as dt
import json
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from aether import codec
from aether.errors import AetherError
from aether.ingest.records import is_json

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["Columns", "Mapping"]

NEEDED = ("id", "actor_id", "event_type", "timestamp")
WHOLE = ("data", "payload", "metadata", "version")
NESTED = ("data.", "metadata.")
LEFT_OUT = "-"
OTHER_NAMES = {"data_json": "data", "metadata_json": "metadata"}
"""What an export calls its text columns."""
UNUSED = ("position", "data_json")
"""Columns of an export that an import has no use for where the data has another."""


def _bool(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ValueError(f"{text[:40]!r} is neither true nor false")
    return text.lower() == "true"


def _int(text: str) -> int:
    return int(text) if len(text) <= len(str(2**64)) else _fail(f"{text[:40]!r} has too many digits")


def _fail(reason: str) -> Any:  # noqa: ANN401 - it never returns
    raise ValueError(reason)


TYPES: dict[str, Callable[[str], Any]] = {"int": _int, "float": float, "bool": _bool, "json": json.loads}


class _Rule(NamedTuple):
    """Where a field comes from: a column, or always the same text."""

    field: str
    column: str | None
    text: str = ""


class Mapping:
    """Which columns make which fields.

    A rule is `field=column`, or `field==text` for what is the same in every row. A field is one of a record's (`id`, `actor_id`,
    `event_type`, `timestamp`, `version`, `data`, `payload`, `metadata`), or an entry of the data or the metadata: `data.NAME`,
    `metadata.NAME`. A text becomes another value by `data.NAME:int`, `:float`, `:bool` or `:json`; an empty one is then null.
    `-=column` leaves a column out.

    Without a rule a column that is named as a field is that field. Every other one is an entry of the data, by its own name.

    Args:
        rules: the rules.

    Raises:
        AetherError: a rule that is none.
    """

    def __init__(self, rules: Sequence[str] = ()) -> None:
        self._rules = [_rule(text) for text in rules]
        self._left_out = {rule.column for rule in self._rules if rule.field == LEFT_OUT}

    def bind(self, columns: Sequence[str], name: str) -> Columns:
        """Return what makes records of rows with these columns.

        Args:
            columns: their names, in order.
            name: what to call the input in messages.

        Raises:
            AetherError: a needed field has no column, a rule names one that is not there, or a column stands for nothing.
        """
        twice = {column for column in columns if columns.count(column) > 1}
        missing = {rule.column for rule in self._rules if rule.column is not None} - set(columns)
        if twice or missing:
            what = f"has these columns twice: {', '.join(sorted(twice))}" if twice else f"has no column {min(missing)!r}"
            raise AetherError(f"{name} {what}; its columns are {', '.join(columns)}")
        rules = [rule for rule in self._rules if rule.field != LEFT_OUT]
        used = {rule.column for rule in rules} | self._left_out
        rest = [column for column in columns if column not in used]
        for column in list(rest):
            field = OTHER_NAMES.get(column, column)
            if _is_field(field) and not any(_name(rule.field) == _name(field) for rule in rules):
                rules.append(_Rule(field, column))
                rest.remove(column)
        fields = {rule.field for rule in rules}
        _check_once(rules)
        if absent := [field for field in NEEDED if field not in fields]:
            raise AetherError(f"{name} has no column for {absent[0]!r}; name one: --map {absent[0]}=COLUMN")
        if not fields & {"data", "payload"}:
            rules += [_Rule(f"data.{column}", column) for column in rest]
        elif idle := [column for column in rest if column not in UNUSED]:
            raise AetherError(f"{name}: the column {idle[0]!r} stands for no field; map it, or leave it out: --map=-={idle[0]}")
        return Columns(rules, columns)


def _check_once(rules: Sequence[_Rule]) -> None:
    """Refuse two sources of one field."""
    names = [_name(rule.field) for rule in rules]
    for name in names:
        whole = name.partition(".")[0]
        if names.count(name) > 1 or (whole != name and whole in names):
            raise AetherError(f"--map: the field {name!r} is given twice, by itself or within {whole!r}")


def _rule(text: str) -> _Rule:
    field, equals, column = text.partition("=")
    if not equals or not column or not (field == LEFT_OUT or _is_field(field)):
        fields = ", ".join((*NEEDED, *WHOLE))
        raise AetherError(f"--map {text}: write FIELD=COLUMN or FIELD==TEXT, FIELD one of {fields}, data.NAME, metadata.NAME")
    return _Rule(field, None, column[1:]) if column.startswith("=") else _Rule(field, column)


def _is_field(field: str) -> bool:
    name, colon, kind = field.partition(":")
    if colon and (kind not in TYPES or not name.startswith("data.")):
        return False
    return name in (*NEEDED, *WHOLE) or any(name.startswith(start) and len(name) > len(start) for start in NESTED)


def _name(field: str) -> str:
    return field.partition(":")[0]


class Columns:
    """Makes records of rows.

    Args:
        rules: where each field comes from.
        columns: the names of the columns.
    """

    def __init__(self, rules: Sequence[_Rule], columns: Sequence[str]) -> None:
        self._count = len(columns)
        self._rules = [(rule.field, None if rule.column is None else columns.index(rule.column), rule.text) for rule in rules]

    def record(self, row: Sequence[Any]) -> bytes:
        """Return a row as a line of JSON.

        Raises:
            ValueError: it makes none.
        """
        if len(row) != self._count:
            raise ValueError(f"has {len(row)} columns, the header has {self._count}")
        record: dict[str, Any] = {}
        for field, place, text in self._rules:
            value = text if place is None else row[place]
            try:
                _put(record, field, value)
            except (AetherError, ValueError, msgspec.MsgspecError) as error:
                raise ValueError(f"{_name(field)}: {error}") from error
        data = record.get("data")
        if not isinstance(data, msgspec.Raw) and not is_json(data):
            record["payload"] = _packed(record.pop("data"))
        try:
            return msgspec.json.encode(record)
        except (UnicodeEncodeError, TypeError) as error:
            raise ValueError(str(error)) from error


def _put(record: dict[str, Any], field: str, value: Any) -> None:  # noqa: ANN401
    whole, dot, name = field.partition(".")
    if dot:
        name, _, kind = name.partition(":")
        if kind and isinstance(value, str):
            value = TYPES[kind](value) if value else None
        if whole == "data" or value is not None:
            record.setdefault(whole, {})[name] = value
    elif field in NEEDED:
        record[field] = value.isoformat() if isinstance(value, dt.datetime) else value
    elif value is not None and value != "":
        _put_whole(record, field, value)


def _put_whole(record: dict[str, Any], field: str, value: Any) -> None:  # noqa: ANN401
    if field == "version":
        record[field] = _int(value) if isinstance(value, str) else value
    elif isinstance(value, bytes):
        # Bytes of msgpack, as Arrow has them.
        record["payload"] = base64.b64encode(value).decode()
    elif isinstance(value, str) and field != "payload":
        msgspec.json.decode(value)
        # Between its tokens JSON may have ends of lines, within them never.
        record[field] = msgspec.Raw(value.replace("\n", " ").replace("\r", " ").encode())
    elif isinstance(value, list) and field == "metadata":
        record[field] = dict(value)  # Arrow's maps
    else:
        record[field] = value


def _packed(data: Any) -> str:  # noqa: ANN401
    try:
        return base64.b64encode(codec.encode(data)).decode()
    except AetherError as error:
        raise ValueError(str(error)) from error
