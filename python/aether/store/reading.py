"""How one actor's commits are read: by the spine, in a few rounds of fetches by position, or by a scan where that fails.

The spine is checked, never trusted. Whatever is wrong with it (a message of another subject, an order that does not hold, no
spine at all, bytes that do not decode) sends the reader to the scan, and the scan tells which message is damaged.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, NamedTuple

from aether._native import Commit, Head, SpineSearch, SpineWalk, actor_subject, commit_count
from aether.errors import CorruptEventError, DecodeError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aether.nats.stream_log import Message, StreamLog

__all__ = ["ActorReader", "Placed"]

_LOG = logging.getLogger("aether.store")

Placed = list[tuple[int, Commit]]
"""Commits with their positions, oldest first."""


class LastGood(NamedTuple):
    """The last good commit of an actor whose stream is damaged: its version, and the head to go on from."""

    version: int
    head: Head


WINDOW_BYTES = 8 * 2**20
"""What a window of commits may take in memory, as far as the last window's mean size tells."""

END = 2**64 - 1


class ActorReader:
    """One actor's commits in one stream.

    Args:
        log: the stream.
        namespace: its namespace.
        actor_id: the actor.
        timeout_s: what each window of commits may take, in seconds.
    """

    def __init__(self, log: StreamLog, namespace: str, actor_id: str, timeout_s: float) -> None:
        self._log = log
        self._actor_id = actor_id
        self._subject = actor_subject(namespace, actor_id)
        self._timeout_s = timeout_s
        self._mean_bytes = 1

    def deadline(self) -> float:
        """Return a fresh deadline on the loop's clock."""
        return asyncio.get_running_loop().time() + self._timeout_s

    async def latest(self, deadline: float) -> Message | None:
        """Return the actor's last message, from the leader."""
        return await self._log.last(self._subject, deadline)

    def decode(self, message: Message) -> Commit:
        """Decode a message that must be a commit of this actor.

        Raises:
            CorruptEventError: it is not.
        """
        try:
            commit = Commit.decode(message.body)
        except DecodeError as error:
            raise self._corrupt(message.position, str(error)) from error
        if commit.actor_id != self._actor_id:
            raise self._corrupt(message.position, f"it is a commit of the actor {commit.actor_id!r}")
        return commit

    def _corrupt(self, position: int, reason: str) -> CorruptEventError:
        return CorruptEventError(self._log.stream, position, self._actor_id, reason)

    async def all(self, latest: Message, from_version: int, deadline: float) -> Placed:
        """Return every commit up to `latest` that reaches `from_version`."""
        try:
            return await self._walk(latest, from_version, 0, END, deadline)
        except (DecodeError, CorruptEventError) as error:
            self._fall_back(error)
        return [placed async for part in self._scan(latest, 0, from_version) for placed in part]

    async def windows(self, latest: Message, from_version: int, commits_max: int) -> AsyncIterator[Placed]:
        """Yield the commits up to `latest` that reach `from_version`, in windows of bounded size."""
        read_to = 0
        try:
            head = self.decode(latest)
            total = commit_count(head, latest.position)
            first = await self._first(head, latest.position, from_version) if from_version > 1 else 0
            window = max(1, min(commits_max, WINDOW_BYTES // max(1, len(latest.body))))
            while first < total:
                placed = await self._walk(latest, from_version, first, first + window, self.deadline())
                if placed:
                    yield placed
                    read_to = placed[-1][0]
                first += window
                window = max(1, min(commits_max, WINDOW_BYTES // max(1, self._mean_bytes)))
        except (DecodeError, CorruptEventError) as error:
            self._fall_back(error)
        else:
            return
        async for placed in self._scan(latest, read_to, from_version):
            yield placed

    def _fall_back(self, error: Exception) -> None:
        _LOG.warning(
            "%s: the spine of %r cannot be followed (%s), so its commits are searched for",
            self._log.stream,
            self._actor_id,
            error,
        )

    async def _first(self, head: Commit, position: int, from_version: int) -> int:
        """Return the ordinal of the first commit that reaches `from_version`."""
        search = SpineSearch(head, position, from_version)
        deadline = self.deadline()
        while wanted := search.wanted():
            for message in await self._log.at(wanted, deadline):
                self._expect_subject(message)
                search.feed(message.position, message.body)
        return search.found()

    async def _walk(self, latest: Message, from_version: int, first: int, end: int, deadline: float) -> Placed:
        """Return the commits of the ordinals `first` to `end` that reach `from_version`, by the spine."""
        walk = SpineWalk(self.decode(latest), latest.position, from_version, first, end)
        size, count = len(latest.body), 1
        while wanted := walk.wanted():
            for message in await self._log.at(wanted, deadline):
                self._expect_subject(message)
                walk.feed(message.position, message.body)
                size += len(message.body)
                count += 1
        self._mean_bytes = size // count
        return walk.commits()

    def _expect_subject(self, message: Message) -> None:
        if message.subject != self._subject:
            raise DecodeError(-1, f"the spine leads to position {message.position}, which is not the actor's")

    async def _scan(self, latest: Message, after: int, from_version: int) -> AsyncIterator[Placed]:
        """Yield the commits behind `after` that reach `from_version`, from every message on the subject."""
        passed: frozenset[int] | None = None
        version, through = 0, latest.position
        batches = self._log.scan(self._subject, after, through, self.deadline())
        async for batch in batches:
            placed: Placed = []
            for message in batch:
                try:
                    commit = self._in_order(message, version)
                except CorruptEventError as error:
                    if passed is None:
                        passed = await self._passed(message.position, through)
                    if message.position not in passed:
                        raise error from error.__cause__
                    continue
                version = commit.version
                if version >= from_version:
                    placed.append((message.position, commit))
            after = batch[-1].position
            if placed:
                yield placed

    def _in_order(self, message: Message, version: int) -> Commit:
        commit = self.decode(message)
        if commit.version_before < version:
            raise self._corrupt(message.position, f"version {commit.version_before + 1} follows version {version}")
        return commit

    async def _passed(self, after: int, through: int) -> frozenset[int]:
        """Return the positions that later commits say to step over."""
        passed: set[int] = set()
        async for batch in self._log.scan(self._subject, after, through, self.deadline()):
            for message in batch:
                try:
                    passed.update(self.decode(message).passed)
                except CorruptEventError:
                    continue
        return frozenset(passed)

    async def survey(self, latest: Message) -> tuple[LastGood | None, list[int]]:
        """Read every message on the subject; return the last good commit and the damaged positions that none passes yet."""
        good: LastGood | None = None
        damaged: list[int] = []
        passed: set[int] = set()
        async for batch in self._log.scan(self._subject, 0, latest.position, self.deadline()):
            for message in batch:
                try:
                    commit = self._in_order(message, good.version if good else 0)
                except CorruptEventError:
                    damaged.append(message.position)
                else:
                    passed.update(commit.passed)
                    good = LastGood(commit.version, commit.head(message.position))
        return good, [position for position in damaged if position not in passed]
