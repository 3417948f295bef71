"""The root, and what any call may raise, whatever it is about."""

from __future__ import annotations

__all__ = ["AetherError", "DeadlineError", "LoopInUseError", "MissingExtraError"]


class AetherError(Exception):
    """The root: catch this to catch everything Aether raises on purpose."""


class DeadlineError(AetherError, TimeoutError):
    """The time is up, and nothing was changed; where it may have been, `what` says so.

    Attributes:
        what: what was being done.
        timeout_s: the deadline that passed, in seconds.
    """

    def __init__(self, what: str, timeout_s: float) -> None:
        super().__init__(what, timeout_s)
        self.what, self.timeout_s = what, timeout_s

    def __str__(self) -> str:
        return f"{self.what}: no answer within {self.timeout_s:g} s; try again, or allow more with timeout_s="


class LoopInUseError(AetherError, RuntimeError):
    """A blocking call was made inside a running event loop, which it would have stopped.

    Attributes:
        call: the call, as "JetStreamEventStore".
    """

    def __init__(self, call: str) -> None:
        super().__init__(call)
        self.call = call

    def __str__(self) -> str:
        return (
            f"aether.sync.{self.call} would block the event loop that runs here; use aether.{self.call} with await, "
            "or call this from a thread (asyncio.to_thread)"
        )


class MissingExtraError(AetherError, ImportError):
    """An optional dependency is needed and not installed.

    Attributes:
        feature: what needs it.
        extra: the extra that brings it.
    """

    def __init__(self, feature: str, extra: str) -> None:
        super().__init__(feature, extra)
        self.feature, self.extra = feature, extra

    def __str__(self) -> str:
        return f'{self.feature} needs an optional dependency; type: python3 -m pip install "aether-events[{self.extra}]"'
