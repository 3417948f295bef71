"""Everything that event data may hold, for hypothesis, and how often it tries."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Callable

integers = st.integers(-(2**63), 2**64 - 1)
floats = st.floats(allow_nan=False, allow_infinity=False)
texts = st.text(st.characters(exclude_categories=["Cs"]))
zones = st.one_of(
    st.just(dt.UTC),
    st.timezones(),
    st.integers(-1439, 1439).map(lambda minutes: dt.timezone(dt.timedelta(minutes=minutes))),
)
# A day from both ends, so that every zone's moment is one in UTC too.
moments = st.datetimes(dt.datetime(1, 1, 2), dt.datetime(9999, 12, 30), timezones=zones)  # noqa: DTZ001 - the zone comes with it
leaves = st.one_of(st.none(), st.booleans(), integers, floats, texts, st.binary(max_size=300), moments)
values = st.recursive(
    leaves,
    lambda inner: st.one_of(st.lists(inner), st.lists(inner).map(tuple), st.dictionaries(texts, inner)),
    max_leaves=20,
)


def always(size: Any, strategy: st.SearchStrategy[Any], holds: Callable[[Any], None]) -> None:
    """Try `holds` on values of the strategy, as many as the size of the run says."""

    @settings(max_examples=size.pick(100, 400, 20_000), deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(strategy)
    def run(value: Any) -> None:
        holds(value)

    run()


def as_read(value: object) -> object:
    """Return a value as it is read back: tuples as lists, datetimes in UTC."""
    if isinstance(value, dict):
        return {key: as_read(held) for key, held in value.items()}
    if isinstance(value, list | tuple):
        return [as_read(held) for held in value]
    return value.astimezone(dt.UTC).replace(fold=0) if isinstance(value, dt.datetime) else value


def spelled(value: object) -> str:
    """Tell apart what `==` does not: 1, 1.0 and True, 0.0 and -0.0, the zone of a datetime, the order of keys."""
    return repr(value)
