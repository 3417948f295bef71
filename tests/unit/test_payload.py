"""Typed payloads: msgspec Structs, dataclasses and pydantic models in, and back by `decode`."""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import enum
import uuid
from typing import Annotated, Any, ClassVar, Generic, Literal, TypeVar

import msgspec
import pydantic
import pytest

from aether import DecodeError, EncodeError, Event, NewEvent, Snapshot, codec

AT = dt.datetime(2026, 11, 24, 16, 7, 1, 5, tzinfo=dt.UTC)
T = TypeVar("T")


class Size(enum.StrEnum):
    """An enum of texts."""

    SMALL = "s"


class Item(msgspec.Struct):
    """A Struct."""

    sku: str
    count: int = 1
    tags: list[str] = []


class Renamed(msgspec.Struct, rename="camel"):
    """A Struct whose fields have other names."""

    total_cents: int
    placed_at: dt.datetime


class Tagged(msgspec.Struct, tag_field="kind", tag="tagged"):
    """A Struct that says what it is."""

    value: int


class Numbered(msgspec.Struct, tag=7):
    """A Struct whose tag is a number."""

    value: int


class Row(msgspec.Struct, array_like=True, tag=True):
    """A Struct that is a list."""

    a: int
    b: Item | None = None


class Sparse(msgspec.Struct, omit_defaults=True, kw_only=True):
    """A Struct that leaves out what is as by default."""

    a: int = 1
    b: str
    c: list[int] = []
    d: dict[str, int] = msgspec.field(default_factory=lambda: {"x": 1})
    e: float = 1.5


class Unset(msgspec.Struct):
    """A Struct with a field that may be missing."""

    a: int | msgspec.UnsetType = msgspec.UNSET
    b: int = 2


class Frozen(msgspec.Struct, frozen=True, gc=False, order=True):
    """A Struct with options that do not show."""

    a: tuple[int, str]


class Box(msgspec.Struct, Generic[T]):
    """A generic Struct."""

    content: T


@dataclasses.dataclass
class Address:
    """A dataclass."""

    COUNTRY: ClassVar[str] = "NL"
    street: str
    numbers: list[int] = dataclasses.field(default_factory=list)
    size: Size = Size.SMALL


@dataclasses.dataclass(frozen=True, slots=True)
class Order:
    """A dataclass with typed fields."""

    id: str
    items: tuple[Item, ...]
    address: Address | None = None
    at: dt.datetime | None = None


class Line(pydantic.BaseModel):
    """A pydantic model."""

    sku: str = pydantic.Field(min_length=1)
    count: int = 1
    size: Size = Size.SMALL


class Invoice(pydantic.BaseModel):
    """A pydantic model of models, with an alias."""

    number: int = pydantic.Field(alias="no")
    lines: list[Line] = []
    at: dt.datetime | None = None


class Names(pydantic.RootModel[list[str]]):
    """A pydantic model that is a list."""


class Mixed(msgspec.Struct):
    """Models, dataclasses and Structs within each other."""

    invoice: Invoice
    order: Order
    by_name: dict[str, Line]


TYPED = {
    "struct": Item("pen", 2, ["a"]),
    "renamed": Renamed(5, AT),
    "tagged": Tagged(1),
    "number as tag": Numbered(1),
    "array": Row(1, Item("pen")),
    "sparse": Sparse(b="b"),
    "sparse, changed": Sparse(a=2, b="b", c=[1], d={}, e=2.5),
    "unset": Unset(),
    "set": Unset(1),
    "frozen": Frozen((1, "x")),
    "dataclass": Address("Main", [1, 2]),
    "nested dataclass": Order("o", (Item("pen"),), Address("Main"), AT),
    "list": [Item("a"), Item("b")],
    "dict": {"a": Address("x")},
}


@pytest.mark.parametrize("value", TYPED.values(), ids=TYPED)
def test_encoded_as_msgspec_would(value):
    """Names, tags, arrays, defaults and order are those that msgspec gives a Struct or a dataclass, byte for byte."""
    assert codec.encode(value) == msgspec.msgpack.encode(value)


ROUND_TRIPS = {
    **{name: (value, type(value)) for name, value in TYPED.items() if not isinstance(value, list | dict)},
    "list": ([Item("a")], list[Item]),
    "generic": (Box(Item("a")), Box[Item]),
    "union": (Tagged(3), Tagged | int),
    "pydantic": (Line(sku="pen", count=3), Line),
    "pydantic with an alias": (Invoice(no=5, lines=[Line(sku="a")], at=AT), Invoice),
    "root model": (Names(["a", "b"]), Names),
    "list of models": ([Line(sku="a"), Line(sku="b")], list[Line]),
    "mixed": (Mixed(Invoice(no=1), Order("o", ()), {"k": Line(sku="x")}), Mixed),
    "plain": ({"a": [1, 2.5, None]}, Any),
    "scalar": (5, int),
    "datetime": (AT, dt.datetime),
}


@pytest.mark.parametrize(("value", "into"), ROUND_TRIPS.values(), ids=ROUND_TRIPS)
def test_back_by_decode(value, into):
    """What went in typed comes back by decode with its type, from events, new events and snapshots."""
    assert Event("a", "t", 1, value).decode(into) == value
    assert NewEvent("t", value).decode(into) == value
    assert Snapshot("a", 1, value).decode(into) == value


def test_as_plain_data():
    """Typed data reads as plain data by its field names: Structs by their encoded names, models by their own."""
    assert Event("a", "t", 1, Renamed(5, AT)).data == {"totalCents": 5, "placedAt": AT}
    assert Event("a", "t", 1, Row(1)).data == ["Row", 1, None]
    assert Event("a", "t", 1, Invoice(no=5)).data == {"number": 5, "lines": [], "at": None}
    assert Event("a", "t", 1, {"address": Address("x")}).data == {"address": {"street": "x", "numbers": [], "size": "s"}}


def test_plain_data_reads_typed():
    """Data that was stored plain, or by alias, decodes into a type that fits it, with defaults for what is not there."""
    assert Event("a", "t", 1, {"sku": "pen", "new_field": 1}).decode(Item) == Item("pen")
    assert Event("a", "t", 1, {"no": 5}).decode(Invoice) == Invoice(no=5)
    assert Event("a", "t", 1, {"number": 5}).decode(Invoice) == Invoice(no=5)


@dataclasses.dataclass
class Anything:
    """A dataclass with one field."""

    x: Any


class Holder(msgspec.Struct):
    """A Struct with one field."""

    x: Any


class Model(pydantic.BaseModel):
    """A pydantic model with one field."""

    model_config = pydantic.ConfigDict(arbitrary_types_allowed=True)
    x: Any


class Knot(pydantic.BaseModel):
    """A pydantic model that can hold itself."""

    next: Knot | None = None


class Color(enum.Enum):
    """An enum that msgspec would encode by its value."""

    RED = 1


NOT_PLAIN = {
    "set": {1},
    "frozenset": frozenset(),
    "naive datetime": dt.datetime(2026, 1, 1),  # noqa: DTZ001 - that is the point
    "date": dt.date(2026, 1, 1),
    "timedelta": dt.timedelta(1),
    "decimal": decimal.Decimal("1.0"),
    "uuid": uuid.UUID(int=1),
    "enum": Color.RED,
    "bytearray": bytearray(b"x"),
    "nan": float("nan"),
    "2**64": 2**64,
    "int key": {1: 2},
    "surrogate": "\ud800",
}


@pytest.mark.parametrize("value", NOT_PLAIN.values(), ids=NOT_PLAIN)
@pytest.mark.parametrize("kind", [Anything, Holder])
def test_may_not_hold_what_plain_data_may_not(kind, value):
    """What plain data may not hold, a dataclass and a Struct may not either, although msgspec would take it."""
    with pytest.raises(EncodeError) as caught:
        Event("a", "t", 1, {"items": [kind(value)]})
    assert caught.value.path == "data.items[0].x"
    with pytest.raises(EncodeError) as plain:
        Event("a", "t", 1, {"items": [{"x": value}]})
    assert caught.value.args == plain.value.args


@pytest.mark.parametrize("value", NOT_PLAIN.values(), ids=NOT_PLAIN)
def test_models_may_not_hold_it_either(value):
    """Nor may a pydantic model."""
    with pytest.raises(EncodeError) as caught:
        Event("a", "t", 1, [Model(x=value)])
    assert caught.value.path == "data[0].x"


def test_what_cannot_be_taken_apart():
    """A value with a field that was never set, a model that holds itself and an array with a gap are refused by their path."""
    broken = Address("x")
    del broken.street
    unfinished = Item("x")
    del unfinished.sku
    knot = Knot()
    knot.next = knot

    class Gap(msgspec.Struct, array_like=True):
        a: int | msgspec.UnsetType = msgspec.UNSET

    for value, reason in [(broken, "street"), (unfinished, "sku"), (knot, "Circular"), (Gap(), "UNSET")]:
        with pytest.raises(EncodeError, match=reason) as caught:
            codec.encode({"at": [value]})
        assert caught.value.path == "data.at[0]"


def test_types_are_no_values():
    """A class in place of its instance is refused."""
    for kind in (Item, Address, Line):
        with pytest.raises(EncodeError, match=r"the class .*; store an instance of it"):
            codec.encode(kind)


class Positive(msgspec.Struct):
    """A Struct that checks its field."""

    n: Annotated[int, msgspec.Meta(gt=0)]
    kind: Literal["a", "b"] = "a"


@pytest.mark.parametrize(
    ("data", "into", "field"),
    [
        ({"n": 0}, Positive, r"\$\.n"),
        ({"n": 1, "kind": "c"}, Positive, r"\$\.kind"),
        ({}, Positive, "missing required field `n`"),
        ([1], Positive, "Expected `object`"),
        ({"sku": 5}, Item, r"\$\.sku"),
        ({"sku": ""}, Line, "sku"),
        ({"sku": "a", "count": "many"}, Line, "count"),
        ([{"sku": "a"}, {}], list[Line], r"\$\[1\]"),
        ({"x": {}}, dict[str, Address], r"street"),
        ("text", int, "Expected `int`"),
        (5, decimal.Context, "neither a pydantic model nor a type that msgspec decodes"),
    ],
)
def test_data_that_does_not_fit(data, into, field):
    """Data that does not fit the type is a DecodeError that names the field."""
    with pytest.raises(DecodeError, match=field) as caught:
        Event("a", "t", 1, data).decode(into)
    assert caught.value.offset == -1
    assert "the data does not fit" in caught.value.reason
    with pytest.raises(DecodeError):
        Snapshot("a", 1, data).decode(into)


def test_decode_by_position_only():
    """The type goes by position: it has no name that could clash."""
    with pytest.raises(TypeError):
        Event("a", "t", 1, 5).decode(type=int)
