"""Typed payloads: msgspec Structs, dataclasses and pydantic models to plain data and back.

The native encoder calls `fields` for a value that is no plain data. One level at a time: what a field holds is judged by the
same rules as plain data, because left to itself msgspec makes arrays of sets and strings of naive datetimes.
"""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import uuid
from typing import Any, TypeVar

import msgspec

from aether.errors import DecodeError

__all__: list[str] = []

T = TypeVar("T")


def fields(value: object) -> dict[str, Any] | list[Any] | None:
    """Return the fields of a typed value as msgspec or pydantic would name them; None if it is not one."""
    if isinstance(value, msgspec.Struct):
        return _struct_fields(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if _is_pydantic(type(value)):
        return value.model_dump()  # type: ignore[attr-defined, no-any-return]  # pydantic is not a dependency
    return None


def _struct_fields(value: msgspec.Struct) -> dict[str, Any] | list[Any]:
    config = value.__struct_config__
    named = {
        name: held
        for attribute, name in zip(value.__struct_fields__, value.__struct_encode_fields__, strict=True)
        if (held := getattr(value, attribute)) is not msgspec.UNSET
    }
    if config.array_like:
        return [*([] if config.tag is None else [config.tag]), *named.values()]
    return named if config.tag_field is None else {config.tag_field: config.tag, **named}


def _is_pydantic(kind: object) -> bool:
    return isinstance(kind, type) and hasattr(kind, "model_dump") and hasattr(kind, "model_validate")


def decode(payload: bytes, into: type[T]) -> T:
    """Build a value of type `into` from encoded data.

    Raises:
        DecodeError: the data does not fit the type; the reason names the field.
    """
    if _is_pydantic(into):
        plain = msgspec.msgpack.decode(payload)
        try:
            return into.model_validate(plain, by_alias=True, by_name=True)  # type: ignore[attr-defined, no-any-return]
        except ValueError as error:  # pydantic.ValidationError is one
            raise DecodeError(-1, f"the data does not fit {into.__name__}: {error}") from error
    try:
        return msgspec.msgpack.decode(payload, type=into)
    except msgspec.DecodeError as error:
        raise DecodeError(-1, f"the data does not fit {getattr(into, '__name__', into)}: {error}") from error


_REMEDIES: tuple[tuple[type | tuple[type, ...], str], ...] = (
    ((set, frozenset), "store sorted(value), a list"),
    (enum.Enum, "store its .value"),
    (decimal.Decimal, "store str(value)"),
    (uuid.UUID, "store str(value)"),
    ((bytearray, memoryview), "store bytes(value)"),
    (datetime.date, "store value.isoformat()"),
    (datetime.time, "store value.isoformat()"),
    (datetime.timedelta, "store value.total_seconds()"),
    (complex, "store [value.real, value.imag]"),
)


def remedy(value: object) -> str:
    """Say what a refused value is and what to store instead."""
    kind = type(value)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    for kinds, advice in _REMEDIES:
        if isinstance(value, kinds):
            return f"a {name}; {advice}"
    return (
        f"a {name}; event data holds None, bool, int, float, str, bytes, list, tuple, dict with str keys, aware datetime, "
        "msgspec Structs, dataclasses and pydantic models"
    )
