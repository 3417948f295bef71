"""Witnesses: proof that every server of a cluster has our subscriptions.

A subscription spreads over the routes of a cluster after its own server has it, so that server's word says nothing of the
others: an event that is published on one of them at once may be lost. What can be relied on is order: interest travels in order
on a route. So after the subscriptions an inbox is opened on the same connection, and a connection of our own to each other
server, its witness, publishes probes to that inbox. A probe that arrives proves that its server knows of the inbox, and so of
all that was subscribed before.

Which servers there are the own server says, now and whenever that changes. A server that comes, goes, whose witness is lost or
whose beats are missing may have taken events that did not reach us. `interrupted` tells of that; the next proof ends it. What a
proof reached before its deadline is watched even if it did not reach all.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, NamedTuple

from aether._native import Tally
from aether.errors import AccessDeniedError, ServersUnreachableError
from aether.nats.beats import Beats
from aether.nats.errors import NoRespondersError, UnansweredError
from aether.nats.lane import Lane
from aether.nats.login import WEBSOCKET, Login
from aether.nats.neighbours import check_alone, named_servers, neighbour
from aether.nats.witness import Witness

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from urllib.parse import ParseResult

    from aether.nats.connect_options import ConnectOptions
    from aether.nats.login import Server
    from aether.nats.transport import Transport

__all__ = ["Witnesses"]

_LOG = logging.getLogger("aether.nats")

PROBE_FIRST_S, PROBE_MAX_S = 0.001, 0.05
"""How long a probe may stay away before another goes out: twice as long each time, from the first to the second."""

UNNAMED_S = 1.0
"""How long a proof waits for a server that is named no more. It may be gone without a word, or cut off from ours; or it is about
to go ("lame duck mode") and still takes what its clients publish, and then its probe arrives."""


class Proof(NamedTuple):
    """What one proof needs.

    Attributes:
        source: whose server says which servers there are.
        own: the server that has our subscriptions.
        inbox: where probes go.
        tally: which of them came.
        patient_until: how long servers that are named no more are waited for.
    """

    source: Lane
    own: str
    inbox: str
    tally: Tally
    patient_until: float


class Witnesses:
    """A connection to each other server of the own server's cluster, kept for the next proof.

    Attributes:
        are_blind: the own server has a cluster and names none of its servers, so the last proof was by the own one alone.

    Args:
        timeout_s: what a call may take, in seconds.
        interrupted: called with the reason when what was proven may no longer hold: what is published on some server may be
            missed until `prove` returns again.
        options: who we are to those servers where `prove` is given a borrowed client; else its own connection knows.
    """

    def __init__(self, timeout_s: float, interrupted: Callable[[str], None], options: ConnectOptions | None = None) -> None:
        self._timeout_s, self._interrupted = timeout_s, interrupted
        self._login = Login([], options)
        self._of_url: dict[str, Witness] = {}
        self._observer: Witness | None = None
        self._source: Lane | None = None
        self._beats = Beats(self._missed)
        self._proven: frozenset[str] | None = None
        self._watched: frozenset[int] = frozenset()
        self._waking: set[asyncio.Event] = set()
        self.are_blind = False

    async def prove(self, transport: Transport, deadline: float) -> None:
        """Return when every server of the cluster has what was subscribed on `transport` before.

        Raises:
            ServersUnreachableError: some could not be reached by the deadline, or cannot be at all.
            AccessDeniedError: a server does not let its witness publish to an inbox.
            NoRespondersError: the transport is lost.
            UnansweredError: the transport is lost, or its server does not answer by the deadline.
        """
        woken = asyncio.Event()
        self._waking.add(woken)
        try:
            source = await self._source_of(transport, woken, deadline)
            if source is None:
                await transport.flush(deadline)
            else:
                await self._prove(transport, source, woken, deadline)
        except ServersUnreachableError as error:
            if isinstance(error.__cause__, AccessDeniedError) and not isinstance(transport, Lane):
                why = f"{error.why}; beside a borrowed client, options= says who the bus is there"
                raise ServersUnreachableError(error.servers, why) from error.__cause__
            raise
        finally:
            self._waking.discard(woken)

    async def _prove(self, transport: Transport, source: Lane, woken: asyncio.Event, deadline: float) -> None:
        tally, lost = Tally(), list[Exception]()

        def fail(reason: Exception, subject: str | None) -> None:
            if subject is None:
                lost.append(reason)
                woken.set()

        inbox = await transport.open_inbox(tally, woken.set, fail)
        patient_until = asyncio.get_running_loop().time() + UNNAMED_S
        proof = Proof(source, transport.info.server_id, inbox.prefix, tally, patient_until)
        try:
            self._probe(proof)
            await transport.flush(deadline)
            try:
                await self._probe_all(proof, woken, lost, deadline)
            finally:
                if source.is_open() and transport.is_open():
                    self._remember(transport, proof)
            if not (source.is_open() and transport.is_open()):
                raise UnansweredError("the connection is left for another")
        finally:
            await inbox.aclose()

    async def _probe_all(self, proof: Proof, woken: asyncio.Event, lost: list[Exception], deadline: float) -> None:
        pause_s = PROBE_FIRST_S
        while missing := self._probe(proof):
            await _pause(woken, pause_s, deadline, missing)
            pause_s = min(2 * pause_s, PROBE_MAX_S)
            if lost:
                raise lost[0]

    def _probe(self, proof: Proof) -> list[Witness]:
        """Send a probe through each server that is not proven yet; return its witness, and those that are not connected."""
        self._follow(proof)
        found = {proof.own}
        for witness in self._of_url.values():
            if witness.lane is not None:
                if witness.server_id in found:
                    witness.end()  # another address of a server that has a witness, or of our own
                found.add(witness.server_id)
        missing = []
        for witness in self._of_url.values():
            _check(witness)
            if witness.lane is not None:
                if proof.tally.has(witness.number):
                    continue
                witness.probe(proof.inbox)
            elif witness.server_id in found:
                continue
            else:
                witness.connect()
            missing.append(witness)
        return missing

    def _follow(self, proof: Proof) -> None:
        """Have a witness for each address that the server names, and let go of the others."""
        named = named_servers(proof.source, proof.own)
        patient = asyncio.get_running_loop().time() < proof.patient_until
        for netloc, witness in [*self._of_url.items()]:
            kept = witness.lane is not None and (patient or proof.tally.has(witness.number))
            if netloc not in named and not kept:
                self._of_url.pop(netloc).end()
        for netloc, url in named.items():
            if netloc not in self._of_url:
                self._of_url[netloc] = self._witness(neighbour(proof.source.server, url))

    def _witness(self, server: Server) -> Witness:
        return Witness(server, self._timeout_s, self._wake, self._lost)

    # Where it is said which servers there are.

    async def _source_of(self, transport: Transport, woken: asyncio.Event, deadline: float) -> Lane | None:
        """Return a lane whose server tells which servers there are; None: there is only the one."""
        if not transport.info.cluster:
            return None
        if isinstance(transport, Lane):
            return transport
        url = transport.connected_url
        if url is None:
            raise NoRespondersError("the client is not connected")
        url = url._replace(netloc=url.netloc.rpartition("@")[2])
        if url.scheme in WEBSOCKET:
            check_alone(url, transport.info.connect_urls)
            return None
        return await self._observe(url, woken, deadline)

    async def _observe(self, url: ParseResult, woken: asyncio.Event, deadline: float) -> Lane:
        """Return a lane to the server of a client that does not tell what it hears from it."""
        server = self._login.server(url)
        if self._observer is None or self._observer.server.shown != server.shown:
            if self._observer is not None:
                self._observer.end()
            self._observer = self._witness(server)
        observer, pause_s = self._observer, PROBE_MAX_S
        while observer.lane is None:
            _check(observer)
            observer.connect()
            await _pause(woken, pause_s, deadline, [observer])
        return observer.lane

    # What ends a proof.

    def _remember(self, transport: Transport, proof: Proof) -> None:
        """Watch what was proven."""
        proven = [witness for witness in self._of_url.values() if witness.lane is not None and proof.tally.has(witness.number)]
        self._beats.follow(transport, proven)
        self._watched = frozenset(witness.number for witness in proven)
        if self._source is not None:
            self._source.on_info = None
        self._source, self._proven = proof.source, frozenset(proof.source.info.connect_urls)
        if not self._proven and not self.are_blind:
            _LOG.warning(
                "%s is of the cluster %r and names no other server: it is alone, or no_advertise is set; subscriptions are "
                "proven on this one only",
                *(proof.source.server.shown, proof.source.info.cluster),
            )
        self.are_blind = not self._proven
        proof.source.on_info = self._look

    def _look(self) -> None:
        """Take it that the own server has said something of itself."""
        if self._source is None or self._proven is None:
            return
        named = frozenset(self._source.info.connect_urls)
        if named != self._proven:
            come, gone = ", ".join(sorted(named - self._proven)), ", ".join(sorted(self._proven - named))
            parts = [f"{come} came" if come else "", f"{gone} went" if gone else ""]
            self._doubt(f"the cluster changed: {' and '.join(filter(None, parts))}")

    def _lost(self, witness: Witness) -> None:
        self._wake()
        if witness.number in self._watched:
            self._doubt(f"{witness.server.shown}: {witness.error}")

    def _missed(self, witness: Witness, reason: str) -> None:
        self._doubt(f"{witness.server.shown}: {reason}")

    def _doubt(self, reason: str) -> None:
        self._wake()
        if self._proven is not None:
            self._proven = None
            self._interrupted(reason)

    def _wake(self) -> None:
        for woken in self._waking:
            woken.set()

    async def aclose(self) -> None:
        """End all connections."""
        if self._source is not None:
            self._source.on_info = None
        self._proven = None
        self._beats.end()
        witnesses, self._of_url = [*self._of_url.values()], {}
        if self._observer is not None:
            witnesses.append(self._observer)
        for witness in witnesses:
            await witness.aclose()


def _check(witness: Witness) -> None:
    """Raise where waiting for this witness is in vain; the next proof tries again."""
    refusal, witness.refusal = witness.refusal, None
    if refusal is None:
        return
    if witness.lane is not None and isinstance(refusal, AccessDeniedError):
        raise refusal
    raise ServersUnreachableError((witness.server.shown,), witness.why_not()) from refusal


async def _pause(woken: asyncio.Event, pause_s: float, deadline: float, missing: Sequence[Witness]) -> None:
    """Wait until something happened, or a while."""
    now = asyncio.get_running_loop().time()
    if now >= deadline:
        raise ServersUnreachableError(tuple(witness.server.shown for witness in missing), missing[0].why_not()) from missing[
            0
        ].error
    try:
        async with asyncio.timeout_at(min(deadline, now + pause_s)):
            await woken.wait()
    except TimeoutError:
        return
    woken.clear()
