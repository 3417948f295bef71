"""How one actor's commits are read: by the spine, in a few rounds of fetches by position, or by a scan where that fails.

The spine is checked, never trusted. Whatever is wrong with it (a message of another subject, an order that does not hold, no
spine at all, bytes that do not decode) sends the reader to the scan, and the scan tells which message is damaged.
"""

from __future__ import annotations

import logging
from contextlib import aclosing
from typing import TYPE_CHECKING, NamedTuple

from aether._native import Commit, Head, SpineSearch, SpineWalk, actor_subject, commit_count
from aether.errors import CorruptEventError, DecodeError, UnknownFormatError
from aether.nats.messages import GONE

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from aether.nats.messages import Message
    from aether.nats.stream_log import StreamLog

__all__ = ["ActorReader", "Placed", "Tip"]

_LOG = logging.getLogger("aether.store")

Placed = list[tuple[int, Commit]]
"""Commits with their positions, oldest first."""


class Tip(NamedTuple):
    """An actor's last commit.

    Attributes:
        position: where it lies.
        size: the bytes of its message.
        commit: what it says.
    """

    position: int
    size: int
    commit: Commit


class LastGood(NamedTuple):
    """The last good commit of an actor whose stream is damaged: its version, and the head to go on from."""

    version: int
    head: Head


WINDOW_BYTES = 8 * 2**20
"""What the messages of a window may take together; one that takes more is read again in halves."""

WINDOW_COMMITS = 1024
"""How many commits a window has at most, whatever their size."""

ALL = range(2**63)


class ActorReader:
    """One actor's commits in one stream.

    Args:
        log: the stream.
        namespace: its namespace.
        actor_id: the actor.
    """

    def __init__(self, log: StreamLog, namespace: str, actor_id: str) -> None:
        self._log = log
        self._actor_id = actor_id
        self._subject = actor_subject(namespace, actor_id)

    async def tip(self, deadline: float) -> Tip | None:
        """Return the actor's last commit, from the leader; None where it has none.

        Raises:
            CorruptEventError: the last message on the subject is no commit of this actor.
        """
        latest = await self._log.last(self._subject, deadline)
        return None if latest is None else self.tip_at(latest)

    def tip_at(self, latest: Message) -> Tip:
        """Take the actor's last message as its last commit.

        Raises:
            CorruptEventError: it is no commit of this actor.
        """
        return Tip(latest.position, len(latest.body), self._decode(latest))

    def _decode(self, message: Message) -> Commit:
        try:
            commit = Commit.decode(message.body)
        except DecodeError as error:
            raise self._corrupt(message.position, str(error)) from error
        if commit.actor_id != self._actor_id:
            raise self._corrupt(message.position, f"it is a commit of the actor {commit.actor_id!r}")
        return commit

    def _corrupt(self, position: int, reason: str) -> CorruptEventError:
        return CorruptEventError(self._log.stream, position, self._actor_id, reason)

    async def all(self, tip: Tip, from_version: int, deadline: float) -> Placed:
        """Return every commit up to the tip that reaches `from_version`."""
        try:
            placed, _ = await self._walk(tip, from_version, ALL, deadline)
        except (DecodeError, CorruptEventError) as error:
            self._fall_back(error)
        else:
            return placed or []
        return [placed async for part in self._scan(tip, 0, from_version, lambda: deadline) for placed in part]

    async def windows(self, tip: Tip, from_version: int, window: int, deadline: Callable[[], float]) -> AsyncGenerator[Placed]:
        """Yield the commits up to the tip that reach `from_version`, in windows of bounded size.

        Args:
            tip: where to end.
            from_version: where to begin.
            window: how many commits the first window shall have; later ones have more, as far as their bytes allow.
            deadline: called for each window, for the time on the loop's clock by which it must be there.
        """
        read_to = version = 0
        try:
            total = commit_count(tip.commit, tip.position)
            first = await self._first(tip, from_version, deadline()) if from_version > 1 else 0
            window = max(1, min(window, WINDOW_COMMITS))
            while first < total:
                placed, size = await self._walk(tip, from_version, range(first, first + window), deadline(), WINDOW_BYTES)
                if placed is None:
                    window //= 2
                    continue
                if placed:
                    if placed[0][0] <= read_to or placed[0][1].version_before < version:
                        raise DecodeError(-1, "the commits are not in order")  # noqa: TRY301 - judged as any other broken spine
                    yield placed
                    read_to, version = placed[-1][0], placed[-1][1].version
                first += window
                if 2 * size <= WINDOW_BYTES:
                    window = min(2 * window, WINDOW_COMMITS)
        except (DecodeError, CorruptEventError) as error:
            self._fall_back(error)
        else:
            return
        async with aclosing(self._scan(tip, read_to, from_version, deadline, version)) as parts:
            async for placed in parts:
                yield placed

    def _fall_back(self, error: Exception) -> None:
        _LOG.warning(
            "%s: the spine of %r cannot be followed (%s), so its commits are searched for",
            self._log.stream,
            self._actor_id,
            error,
        )

    async def _first(self, tip: Tip, from_version: int, deadline: float) -> int:
        """Return the ordinal of the first commit that reaches `from_version`."""
        search = SpineSearch(tip.commit, tip.position, from_version)
        while wanted := search.wanted():
            async for messages in self._log.at(wanted, deadline, tip.size):
                for message in messages:
                    self._expect_subject(message)
                    search.feed(message.position, message.body)
        return search.found()

    async def _walk(
        self, tip: Tip, from_version: int, ordinals: range, deadline: float, bytes_max: int | None = None
    ) -> tuple[Placed | None, int]:
        """Return those of the commits `ordinals` that reach `from_version`, by the spine, and their bytes.

        Returns:
            None in place of the commits if they are more than one and take more than `bytes_max` bytes.
        """
        walk = SpineWalk(tip.commit, tip.position, from_version, ordinals.start, ordinals.stop)
        # What lies on the way but outside the window is fetched too, and not kept.
        way = 2 * commit_count(tip.commit, tip.position).bit_length()
        size, largest = 0, tip.size
        while wanted := walk.wanted():
            async for messages in self._log.at(wanted, deadline, largest):
                for message in messages:
                    self._expect_subject(message)
                    walk.feed(message.position, message.body)
                    size += len(message.body)
                    largest = max(largest, len(message.body))
                if bytes_max is not None and size - way * largest > bytes_max and len(ordinals) > 1:
                    return None, size
        return walk.commits(), size

    def _expect_subject(self, message: Message) -> None:
        if message.subject != self._subject:
            raise DecodeError(-1, f"the spine leads to position {message.position}, which is not the actor's")

    async def _scan(
        self, tip: Tip, after: int, from_version: int, deadline: Callable[[], float], version: int = 0
    ) -> AsyncGenerator[Placed]:
        """Yield the commits behind `after`, which follow `version` and reach `from_version`, from all messages on the subject."""
        passed: frozenset[int] | None = None
        through, seen = tip.position, after
        async with aclosing(self._log.scan(self._subject, after, through, deadline)) as batches:
            async for batch in batches:
                placed: Placed = []
                for message in batch:
                    commit, damage = await self._judge(message, version, seen, deadline())
                    if damage is not None:
                        if passed is None:
                            passed = await self.passed(seen, through, deadline)
                        if damage.position not in passed:
                            raise damage from damage.__cause__
                    seen = message.position
                    if commit is not None:
                        version = commit.version
                        if version >= from_version:
                            placed.append((message.position, commit))
                if placed:
                    yield placed

    async def _judge(
        self, message: Message, version: int, seen: int, deadline: float
    ) -> tuple[Commit | None, CorruptEventError | None]:
        """Return the commit, if the message is one that follows `version`, and what is damaged: this message or the one before.

        A commit names the one before it, so one that is gone from the stream leaves a trace. `seen` is the position of the
        message before this one, as far as the server still has them.
        """
        try:
            commit = self._in_order(message, version)
        except CorruptEventError as error:
            return None, error
        before = commit.spine[0][0] if commit.spine else 0
        if seen < before < message.position and await self._log.is_gone(before, deadline):
            return commit, self._corrupt(before, GONE)
        return commit, None

    def _in_order(self, message: Message, version: int) -> Commit:
        commit = self._decode(message)
        if commit.version_before < version:
            raise self._corrupt(message.position, f"version {commit.version_before + 1} follows version {version}")
        return commit

    async def passed(self, after: int, through: int, deadline: Callable[[], float]) -> frozenset[int]:
        """Return the positions that commits behind `after` say to step over."""
        passed: set[int] = set()
        async for batch in self._log.scan(self._subject, after, through, deadline):
            for message in batch:
                try:
                    passed.update(self._decode(message).passed)
                except CorruptEventError:
                    continue
        return frozenset(passed)

    async def survey(self, latest: Message, deadline: float) -> tuple[LastGood | None, list[int]]:
        """Read every message on the subject; return the last good commit and the damaged positions that none passes yet.

        Raises:
            CorruptEventError: a later version of Aether wrote here. To step over what is whole would hide its events.
        """
        good: LastGood | None = None
        damaged: list[int] = []
        passed: set[int] = set()
        seen = 0
        async for batch in self._log.scan(self._subject, 0, latest.position, lambda: deadline):
            for message in batch:
                commit, damage = await self._judge(message, good.version if good else 0, seen, deadline)
                seen = message.position
                if damage is not None:
                    if isinstance(damage.__cause__, UnknownFormatError):
                        raise damage from damage.__cause__
                    damaged.append(damage.position)
                if commit is not None:
                    passed.update(commit.passed)
                    good = LastGood(commit.version, commit.head(message.position))
        return good, [position for position in damaged if position not in passed]
