"""A clock that a test moves, so that nothing waits and every time is known."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Self

__all__ = ["Clock"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DEFAULT_START = datetime(2026, 1, 1, tzinfo=UTC)
_NS_PER_US = 1_000
_NS_PER_S = 1_000_000_000


class Clock:
    """A clock that stands still until it is moved.

    As a context manager it takes the place of `time.time_ns`, for this whole process: events made inside get its time by
    default. Everything else, asyncio's timers and `time.time` included, goes on as always. Clocks may be nested; the inner one
    rules.

        with Clock() as clock:
            first = NewEvent("Placed")
            clock.advance(60)
            second = NewEvent("Shipped")
        assert second.timestamp - first.timestamp == timedelta(minutes=1)

    `monotonic` is for code that takes a clock as an argument, as `time.monotonic` would be passed: it moves with `advance`
    and never goes back, also where `set` turns the wall clock back.

    Args:
        start: the first moment, an aware datetime.
    """

    def __init__(self, start: datetime = _DEFAULT_START) -> None:
        self._wall_ns = _ns(start)
        self._elapsed_ns = 0
        self._replaced: list[Callable[[], int]] = []

    def __repr__(self) -> str:
        return f"<Clock at {self.now().isoformat()}, {self.monotonic():g} s>"

    def __enter__(self) -> Self:
        self._replaced.append(time.time_ns)
        time.time_ns = self.time_ns
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        time.time_ns = self._replaced.pop()

    def time_ns(self) -> int:
        """Return the wall clock's time in nanoseconds since 1970, as `time.time_ns` does."""
        return self._wall_ns

    def now(self) -> datetime:
        """Return the wall clock's time in UTC, cut to microseconds."""
        return _EPOCH + timedelta(microseconds=self._wall_ns // _NS_PER_US)

    def monotonic(self) -> float:
        """Return the seconds by which the clock was advanced so far."""
        return self._elapsed_ns / _NS_PER_S

    def advance(self, by: timedelta | float) -> None:
        """Let time pass on both clocks.

        Args:
            by: a timedelta or seconds, 0 or more.

        Raises:
            ValueError: time does not go back; to turn the wall clock, use `set`.
        """
        step_ns = _step_ns(by)
        if step_ns < 0:
            raise ValueError(f"advance takes 0 seconds or more, not {by}; set(…) turns the wall clock back")
        self._wall_ns += step_ns
        self._elapsed_ns += step_ns

    def set(self, moment: datetime) -> None:
        """Turn the wall clock, forth or back, as an administrator or NTP does; no time passes on the monotonic one.

        Args:
            moment: an aware datetime.
        """
        self._wall_ns = _ns(moment)


def _ns(moment: datetime) -> int:
    if moment.tzinfo is None:
        raise ValueError("a naive datetime; say which zone it means: moment.replace(tzinfo=UTC)")
    return (moment - _EPOCH) // timedelta(microseconds=1) * _NS_PER_US


def _step_ns(by: timedelta | float) -> int:
    if isinstance(by, timedelta):
        return by // timedelta(microseconds=1) * _NS_PER_US
    return round(by * _NS_PER_S)
