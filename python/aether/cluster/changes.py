"""What changes in a cluster, as its node sees it: a bounded feed for each who asks."""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from typing import Self

__all__ = ["ChangeFeed", "ChangeKind", "Changes", "ClusterChange"]

UNREAD_MAX = 10_000
"""How many changes wait for one reader; of more he is told how many he missed."""

ChangeKind = Literal[
    "member_joined",
    "member_changed",
    "member_left",
    "leader",
    "assignment",
    "acquired",
    "released",
    "hook_failed",
    "shard_failed",
    "membership_lost",
    "membership_held",
    "interrupted",
    "synced",
    "missed",
]


@dataclass(frozen=True, kw_only=True)
class ClusterChange:
    """Something that changed.

    Attributes:
        kind: what: "member_joined", "member_changed" (another life, or other facts), "member_left"; "leader" (another, or
            none); "assignment" (the shards' owners); of this node: "acquired" and "released" (a shard), "hook_failed" (a hook
            of a shard raised, or took too long), "shard_failed" (a shard could not be taken, and is tried again),
            "membership_lost", "membership_held" (again, as a new incarnation); "interrupted" (what the others do is not seen
            at the moment) and "synced"; "missed" (the reader was so late that changes were dropped).
        node: the node concerned; for "leader" the new one, None: nobody.
        shard: the shard concerned.
        epoch: of "acquired": the shard's epoch.
        count: of "missed": how many were dropped.
        reason: why, in words, where there is something to say.
    """

    kind: ChangeKind
    node: str | None = None
    shard: int | None = None
    epoch: int | None = None
    count: int = 0
    reason: str = ""


class ChangeFeed:
    """An async iterator of changes, from the moment it was made; it ends with the node."""

    def __init__(self) -> None:
        self._unread: deque[ClusterChange] = deque()
        self._missed = 0
        self._is_over = False
        self._woken: asyncio.Event | None = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> ClusterChange:
        while True:
            if self._missed:
                count, self._missed = self._missed, 0
                return ClusterChange(kind="missed", count=count)
            if self._unread:
                return self._unread.popleft()
            if self._is_over:
                raise StopAsyncIteration
            # Several may read: each looks again, and at the end all of them end.
            woken = self._woken = self._woken or asyncio.Event()
            await woken.wait()

    def put(self, change: ClusterChange) -> None:
        """Give a change to the reader."""
        if len(self._unread) >= UNREAD_MAX:
            # The oldest go: what is true now matters more than what was.
            self._unread.popleft()
            self._missed += 1
        self._unread.append(change)
        self._wake()

    def end(self) -> None:
        """End the iteration, behind what is unread."""
        self._is_over = True
        self._wake()

    def _wake(self) -> None:
        if self._woken is not None:
            self._woken.set()
            self._woken = None


class Changes:
    """All feeds of one node."""

    def __init__(self) -> None:
        # A reader who was dropped is not written to.
        self._feeds: weakref.WeakSet[ChangeFeed] = weakref.WeakSet()
        # Blocking callers make feeds in threads of their own, and no set may grow while it is walked through. It is held for
        # that alone, and may be had again by who has it: the garbage collector, which runs anybody's code, may run within.
        self._lock = threading.RLock()
        self._is_over = False

    def feed(self) -> ChangeFeed:
        """Return a new feed; any thread may ask."""
        feed = ChangeFeed()
        with self._lock:
            self._feeds.add(feed)
            is_over = self._is_over
        if is_over:
            feed.end()
        return feed

    def put(self, change: ClusterChange) -> None:
        """Tell every reader."""
        for feed in self._all():
            feed.put(change)

    def end(self) -> None:
        """End all feeds, and those that are made later."""
        with self._lock:
            self._is_over = True
        for feed in self._all():
            feed.end()

    def _all(self) -> list[ChangeFeed]:
        with self._lock:
            return [*self._feeds]
