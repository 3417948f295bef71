"""Typed payloads: msgspec Structs, dataclasses and pydantic models to plain data and back.

The native encoder calls `fields` for a value that is no plain data. One level at a time: what a field holds is judged by the
same rules as plain data, because left to itself msgspec makes arrays of sets and strings of naive datetimes.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import datetime as dt
import decimal
import enum
import functools
import os
import uuid
from typing import Any, TypeVar

import msgspec

from aether.errors import DecodeError, EncodeError

__all__: list[str] = []

T = TypeVar("T")


def fields(value: object) -> dict[str, Any] | list[Any] | None:
    """Return the fields of a typed value as msgspec or pydantic would name them; None if it is not one.

    Raises:
        EncodeError: it is one, and cannot be taken apart. Who calls knows the path.
    """
    try:
        if isinstance(value, msgspec.Struct):
            return _struct_fields(value)
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            named = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
            return {name: held for name, held in named.items() if held is not msgspec.UNSET}
        if _is_pydantic(type(value)):
            return value.model_dump()  # type: ignore[attr-defined, no-any-return]  # pydantic is not a dependency
    except (AttributeError, ValueError) as error:  # a field was never set; a model holds itself
        raise EncodeError("", f"a {_name(type(value))} that cannot be taken apart: {error}") from error
    return None


def _struct_fields(value: msgspec.Struct) -> dict[str, Any] | list[Any]:
    config = value.__struct_config__
    held = [getattr(value, attribute) for attribute in value.__struct_fields__]
    if config.array_like:
        if msgspec.UNSET in held:
            raise ValueError("an array has no place that is UNSET; give it a value, or leave array_like")
        return held if config.tag is None else [config.tag, *held]
    named: dict[str, Any] = {} if config.tag_field is None else {config.tag_field: config.tag}
    defaults = _defaults(type(value)) if config.omit_defaults else None
    for index, (name, item) in enumerate(zip(value.__struct_encode_fields__, held, strict=True)):
        if item is not msgspec.UNSET and not (defaults and _is_default(item, *defaults[index])):
            named[name] = item
    return named


@functools.lru_cache(maxsize=1024)
def _defaults(kind: type[msgspec.Struct]) -> list[tuple[Any, Any]]:
    return [(field.default, field.default_factory) for field in msgspec.structs.fields(kind)]


def _is_default(item: object, default: object, factory: object) -> bool:
    """Whether `omit_defaults` leaves it out, by msgspec's rule: the very default, or empty where the default is an empty one."""
    return item is default or (factory in (list, dict) and type(item) is factory and not item)


def _is_pydantic(kind: object) -> bool:
    return isinstance(kind, type) and hasattr(kind, "model_dump") and hasattr(kind, "model_validate")


def _name(kind: object) -> str:
    if not isinstance(kind, type):
        return str(kind)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def decode(payload: bytes, into: type[T]) -> T:
    """Build a value of type `into` from encoded data: any type that msgspec decodes, with pydantic models anywhere in it.

    Raises:
        DecodeError: the data does not fit the type; the reason names the field.
    """
    try:
        return msgspec.msgpack.decode(payload, type=into, dec_hook=_validate)
    except msgspec.DecodeError as error:
        raise DecodeError(-1, f"the data does not fit {_name(into)}: {error}") from error


def _validate(kind: type[T], plain: object) -> T:
    """Build what msgspec knows no way to build. An error raised here names the field once msgspec has it."""
    if _is_pydantic(kind):
        return kind.model_validate(plain, by_alias=True, by_name=True)  # type: ignore[attr-defined, no-any-return]  # as above
    raise TypeError(f"{_name(kind)} is neither a pydantic model nor a type that msgspec decodes")


_REMEDIES: tuple[tuple[type[Any] | tuple[type[Any], ...], str], ...] = (
    ((set, frozenset), "store sorted(value), a list"),
    (enum.Enum, "store its .value"),
    (decimal.Decimal, "store str(value)"),
    (uuid.UUID, "store str(value)"),
    ((bytearray, memoryview), "store bytes(value)"),
    (dt.date, "store value.isoformat()"),
    (dt.time, "store value.isoformat()"),
    (dt.timedelta, "store value.total_seconds()"),
    (complex, "store [value.real, value.imag]"),
    (os.PathLike, "store os.fspath(value)"),
    (collections.abc.Mapping, "store dict(value)"),
    (collections.abc.Iterable, "store list(value)"),
)


def remedy(value: object) -> str:
    """Say what a refused value is and what to store instead."""
    if isinstance(value, type):
        return f"the class {_name(value)}; store an instance of it, or its name"
    for kinds, advice in _REMEDIES:
        if isinstance(value, kinds):
            return f"a {_name(type(value))}; {advice}"
    return (
        f"a {_name(type(value))}; event data holds None, bool, int, float, str, bytes, list, tuple, dict with str keys, aware "
        "datetime, msgspec Structs, dataclasses and pydantic models"
    )
