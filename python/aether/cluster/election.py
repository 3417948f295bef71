"""Leader election: of all candidates of a group one leads, for as long as its lease is renewed.

Nobody else can lead at the same time, as far as clocks go: a leader counts its time from before it asked, gives away a tenth of
it, and looks at the clock whenever it is asked whether it leads. What must hold whatever the clocks say needs the term's number:
it only grows, unless somebody deletes the coordination stream and a newcomer makes it anew before those who know the last number
make it again, a moment later. So whoever takes orders from a leader can refuse those of an older term (a fencing token).
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from aether.cluster.leadership import Leader, Leadership, leader_of
from aether.cluster.lease_keeper import LeaseKeeper, check_ttl, default_name
from aether.cluster.pulse import Pulse
from aether.errors import AetherError, DeadlineError
from aether.nats.connection import Connection
from aether.nats.coordination import Coordination
from aether.nats.subjects import check_namespace, election_subject
from aether.nats.watch import CoordinationWatch
from aether.store.arguments import check_placing, check_text, check_timeout_s

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from types import TracebackType
    from typing import Self

    from nats.aio.client import Client

    from aether.nats.connect_options import ConnectOptions
    from aether.nats.coordination import Entry

__all__ = ["LeaderElection"]

_LOG = logging.getLogger("aether.cluster")

NAME_BYTES_MAX = 255

PAYLOAD_MIN = 4_096
"""How large a message the server must take, in bytes: a lease with a long name, and what a stream is asked to be."""


class LeaderElection:
    """One candidate in the election of a group's leader.

    A plain call that connects at first use, or as an async context manager on enter. It makes the namespace's coordination
    stream where that is missing, and nothing else.

    Args:
        url_or_client: "nats://host:port" (several joined by commas), "embedded:DIR" for a server owned by this process, or a
            connected nats-py client, which is borrowed and stays open.
        group: what the candidates want to lead, 1 to 255 bytes.
        namespace: 1 to 64 characters of A-Z, a-z, 0-9, `_` and `-`.
        candidate: this candidate's name, for people; None: "HOST:PID".
        ttl: after how many seconds without a renewal a leader has lost; whole, 1 to 3,600. A third of it is between renewals.
        timeout_s: what opening may take, in seconds, at most a day; waiting for leadership takes as long as it takes.
        replicas: how many servers hold a new coordination stream, 1 to 5; None: as many as hold the namespace's events, else 1.
        options: how to log in, and with which TLS, where the URL does not say it all.

    Raises:
        NamespaceMismatchError: on opening: the coordination stream exists with other settings.
        ServerUnavailableError: on opening: no server answers, or (`UnsupportedServerError`) it lacks what is needed.
    """

    def __init__(
        self,
        url_or_client: str | Client,
        *,
        group: str,
        namespace: str = "default",
        candidate: str | None = None,
        ttl: float = 3.0,
        timeout_s: float = 10.0,
        replicas: int | None = None,
        options: ConnectOptions | None = None,
    ) -> None:
        check_placing(timeout_s, replicas, None)
        name = default_name() if candidate is None else candidate
        for what, value in (("group", group), ("candidate", name)):
            check_text(what, value, NAME_BYTES_MAX)
        self._group, self._candidate, self._ttl_s = group, name, check_ttl(ttl)
        self._timeout_s, self._replicas = timeout_s, replicas
        self._subject = election_subject(check_namespace(namespace), group)
        self._connection = Connection(url_or_client, timeout_s, options)
        self._coordination = Coordination(self._connection, namespace, timeout_s)
        self._watch = CoordinationWatch(
            self._connection, namespace, timeout_s, subject=self._subject, restore=self._coordination.restore
        )
        self._keeper: LeaseKeeper | None = None
        self._opening = asyncio.Lock()
        self._leadership: Leadership | None = None
        self._change = Pulse()
        self._term_last = 0
        self._closed = False

    async def __aenter__(self) -> Self:
        try:
            await self._open()
        except BaseException:
            await self.aclose()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        return f"<LeaderElection {self._group!r} for {self._candidate!r} at {self._connection.url}>"

    @property
    def candidate(self) -> str:
        """This candidate's name."""
        return self._candidate

    @property
    def leader(self) -> Leader | None:
        """Who was seen to lead last; None: nobody, or nothing is known yet. Only `Leadership.valid` says whether oneself does."""
        term = None if self._keeper is None else self._keeper.term
        if term is not None:
            return Leader(self._candidate, term)  # the watch may not have said so yet
        entry = self._watch.entries.get(self._subject)
        seen = None if entry is None else leader_of(entry)
        return None if seen is not None and seen.term == self._term_last else seen

    def leadership(self, *, timeout_s: float | None = None) -> Leadership:
        """Return a block that is entered once this candidate leads, and gives leadership back when it is left.

        One block at a time; for another candidate make another election.

        Args:
            timeout_s: how long entering may take, in seconds, at most a day; None: as long as another leads.
        """
        if timeout_s is not None:
            check_timeout_s("timeout_s", timeout_s)
        return Leadership(self, timeout_s)

    async def changes(self) -> AsyncIterator[Leader | None]:
        """Yield who leads, at once and whenever that changes; who reads slowly misses what was in between. Ends with this."""
        await self._open()
        last: tuple[Leader | None] | None = None
        while not self._closed:
            change = self._change.next
            if last != (self.leader,):
                last = (self.leader,)
                yield self.leader
            else:
                await change.wait()

    async def aclose(self) -> None:
        """Give leadership back where it is held, and end the connection; a borrowed client stays open."""
        if self._closed:
            return
        self._closed = True
        self._change.beat()
        async with self._opening, AsyncExitStack() as stack:
            stack.push_async_callback(self._connection.aclose)
            stack.push_async_callback(self._watch.aclose)
            if self._keeper is not None:
                stack.push_async_callback(self._keeper.aclose)
                await self._give_back()

    async def _open(self) -> LeaseKeeper:
        async with self._opening:
            if self._closed:
                raise AetherError(f"{self!r} was closed; make a new one")
            if self._keeper is None:
                deadline = asyncio.get_running_loop().time() + self._timeout_s
                await self._connection.ready(deadline)
                self._coordination.check_payload("a leader election", PAYLOAD_MIN)
                await self._coordination.open(deadline, replicas=self._replicas)
                await self._watch.start(deadline)
                self._keeper = LeaseKeeper(
                    self._coordination,
                    self._watch,
                    self._subject,
                    ttl_s=self._ttl_s,
                    name=self._candidate,
                    on_held=self._held,
                    on_lost=self._lost,
                )
                self._keeper.start()
                self._watch.listen(_Listener(self._subject, self._change.beat))
        return self._keeper

    async def _lead(self, leadership: Leadership, timeout_s: float | None) -> int:
        """Wait until this candidate leads, for one block at a time; return the term."""
        try:
            async with asyncio.timeout(timeout_s):
                return await self._wait_to_lead(await self._open(), leadership)
        except TimeoutError:
            if timeout_s is None:
                raise  # somebody else's
            raise DeadlineError(f"waiting to lead {self._group!r}", timeout_s) from None

    async def _wait_to_lead(self, keeper: LeaseKeeper, leadership: Leadership) -> int:
        if self._leadership is not None:
            raise AetherError(f"{self!r} leads already, or waits to; make another election for another candidate")
        self._leadership, keeper.failure = leadership, None
        try:
            while True:
                self._check_hope(keeper)
                keeper.want()  # again, for a term may have come and gone before this task ran
                if (term := keeper.term) is not None:
                    return term
                await keeper.wait()
        except BaseException:
            self._leadership = None
            keeper.unwant()
            raise

    def _check_hope(self, keeper: LeaseKeeper) -> None:
        """Raise where waiting for leadership is in vain."""
        if self._closed:
            raise AetherError(f"{self!r} was closed")
        failure = keeper.failure or self._watch.failure
        if failure is not None:
            raise failure

    async def _leave(self, leadership: Leadership) -> None:
        if self._leadership is leadership:
            try:
                if leadership.valid and not self._closed:
                    await self._give_back()  # the term is over when that begins, and whoever waits for its end is told then
            finally:
                self._leadership = None

    async def _give_back(self) -> None:
        """Release the lease, or say that it ends by itself."""
        if self._keeper is None:
            return
        try:
            await self._keeper.release(asyncio.get_running_loop().time() + min(self._timeout_s, self._ttl_s))
        except DeadlineError:
            _LOG.warning("%r could not give leadership back; it ends by itself within %d s", self, self._ttl_s)

    def _held(self, term: int) -> None:
        self._term_last = term
        self._change.beat()

    def _lost(self, term: int, _reason: str, _body: bytes | None) -> None:
        leadership = self._leadership
        if self._keeper is not None:
            # The block ends first; who enters the next bids again, and at once where nobody else has.
            self._keeper.suspend()
        if leadership is not None and leadership.number == term:
            leadership.lost._set()  # noqa: SLF001 - the two are one
        self._change.beat()


class _Listener:
    """Tells an election that who leads may have changed."""

    def __init__(self, subject: str, tell: Callable[[], None]) -> None:
        self._subject, self._tell = subject, tell

    def on_entry(self, entry: Entry) -> None:
        if entry.subject == self._subject:
            self._tell()

    def on_synced(self) -> None:
        self._tell()

    def on_broken(self, reason: str) -> None:
        """Nothing is known to have changed."""
