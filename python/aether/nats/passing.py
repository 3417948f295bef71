"""Whether what one server of a cluster was given has reached the others: a publisher that changes its server waits for that.

A round trip proves that a server has what was published; the other servers get it a moment later, by a route. What the
publisher gives to its next server meanwhile may overtake it. So before that a probe is published behind all events, to an inbox
on each other server: a route carries an account's messages in order, and a probe that arrived has everything before it.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from aether._native import Tally, publish_frame
from aether.errors import AetherError, ServersUnreachableError
from aether.nats.dialing import ping_s
from aether.nats.errors import NoRespondersError, UnansweredError
from aether.nats.lane import Lane
from aether.nats.neighbours import named_servers, neighbour
from aether.nats.witnesses import PROBE_FIRST_S, PROBE_MAX_S

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aether.nats.login import Server

__all__ = ["pass_on", "pass_on_from"]

_LOG = logging.getLogger("aether.nats")

PASS_ON_S = 1.0
"""How long a publisher waits. On a network that is well it takes some milliseconds, most of them to connect; a server that hangs
must not silence publishers that only want to leave another."""

PROBE = 1
INBOXES = "_inbox."
"""How subjects of inboxes begin, in lower case."""

FAILURES = (AetherError, OSError, NoRespondersError, UnansweredError)


async def pass_on(lane: Lane, timeout_s: float) -> None:
    """Return once all other servers that are named have what was published through this lane; where that is not proven, log it.

    Args:
        lane: an open lane, or one that is being left; nothing more is published on it.
        timeout_s: what a call of its owner may take, in seconds; this takes less, and at most `PASS_ON_S`.
    """
    try:
        named = named_servers(lane, lane.info.server_id)
    except ServersUnreachableError as error:
        _not_proven(lane.server, error)
        return
    others = [neighbour(lane.server, url) for url in named.values()]
    limit_s, told, refused = min(PASS_ON_S, timeout_s / 2), lane.on_denied, dict[str, Exception]()

    def denied(subject: str, reason: Exception) -> None:
        if subject.startswith(INBOXES):
            refused[subject] = reason
        elif told is not None:
            told(subject, reason)

    lane.on_denied = denied  # for as long as it lives: of several probes on their way, each is denied
    results = await asyncio.gather(*(_reach(lane, other, refused, limit_s) for other in others), return_exceptions=True)
    for other, result in zip(others, results, strict=True):
        if isinstance(result, FAILURES):
            _not_proven(other, result)
        elif result is not None:
            raise result


async def pass_on_from(left: Lane, timeout_s: float) -> None:
    """Do as `pass_on` does for a lane that is lost: over another connection to its server, if that lives.

    A server that does not takes what waits on its routes with it, and subscribers elsewhere are told that it went.
    """
    try:
        async with asyncio.timeout(min(PASS_ON_S, timeout_s / 2)):
            lane = await Lane.open(left.server, ping_s(timeout_s), lambda: None)
    except (AetherError, OSError, TimeoutError) as error:
        _not_proven(left.server, error)
        return
    try:
        if lane.info.server_id == left.info.server_id:
            await pass_on(lane, timeout_s)
    finally:
        await lane.aclose()


async def _reach(lane: Lane, server: Server, refused: Mapping[str, Exception], limit_s: float) -> None:
    """Return once another server has what was published through the lane.

    Args:
        lane: the lane.
        server: the other server.
        refused: where the lane's server lets nobody publish, as it tells that; in lower case.
        limit_s: how long that may take.

    Raises:
        OSError: nobody listens there, or it hangs up, or that is not proven in time.
        AetherError: it refuses the login, or probes are denied.
        NoRespondersError: a connection is lost.
        UnansweredError: a connection is lost.
    """
    async with asyncio.timeout(limit_s):
        other = await Lane.open(server, ping_s(limit_s), lambda: None)
        try:
            if other.info.server_id != lane.info.server_id:
                await _probe(lane, other, refused)
        finally:
            await other.aclose()


async def _probe(lane: Lane, other: Lane, refused: Mapping[str, Exception]) -> None:
    tally, woken, lost = Tally(), asyncio.Event(), list[Exception]()

    def lose(reason: Exception, _subject: str | None) -> None:
        lost.append(reason)
        woken.set()

    inbox, pause_s = await other.open_inbox(tally, woken.set, lose), PROBE_FIRST_S
    subject = f"{inbox.prefix}{PROBE}"
    while not tally.has(PROBE):
        if lost or subject.lower() in refused:
            raise lost[0] if lost else refused[subject.lower()]
        lane.write(publish_frame(subject, "", [], b""))
        try:
            async with asyncio.timeout(pause_s):
                await woken.wait()
        except TimeoutError:
            pause_s = min(2 * pause_s, PROBE_MAX_S)
        woken.clear()


def _not_proven(server: Server, error: BaseException) -> None:
    _LOG.warning(
        "%s: a publisher leaves a server, and it is not proven that what it published has arrived here; "
        "what it publishes next may come first: %s",
        server.shown,
        str(error) or "no answer in time",
    )
