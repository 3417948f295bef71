"""Beats: numbers that witnesses publish now and then, so that what a route loses on its way is noticed.

INFO says when the last connection between two servers is gone. But a route has several, an account's messages use one of them,
and a server closes that one alone where the other takes too little, with all that waits in it; INFO says nothing then. So each
witness publishes to us what it counts, over the same way that events from its server take, and a number that is missing tells
that events may be missing too. A break shorter than the time between two beats, in which no beat was lost, stays unnoticed.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from aether.nats.transport import Transport
    from aether.nats.witness import Witness

__all__ = ["Beats"]

BEAT_S = 0.5
"""How long it is from one beat to the next. A server waits a second before it mends a route of its configuration."""

BEAT_BYTES_MAX = 40
"""Two numbers and a space; what is longer is no beat."""

_LOG = logging.getLogger("aether.nats")


class Pulse:
    """One connection of a witness.

    Attributes:
        witness: whose.
        sent: how many beats went out.
        heard: the last one that came.
    """

    def __init__(self, witness: Witness) -> None:
        self.witness = witness
        self.sent = self.heard = 0


class Beats:
    """The beats of all witnesses of one transport.

    Args:
        missed: called when beats of a witness are missing.
    """

    def __init__(self, missed: Callable[[Witness], None]) -> None:
        self._missed = missed
        self._transport: Transport | None = None
        self._subject = ""
        self._pulses: dict[int, Pulse] = {}
        self._timer: asyncio.TimerHandle | None = None

    def follow(self, transport: Transport, witnesses: Iterable[Witness]) -> None:
        """Let these beat, all of which are proven to be heard on this transport, and no others."""
        if transport is not self._transport:
            self.end()
            self._transport, self._subject = transport, transport.hear(self._take)
        known = self._pulses
        proven = {witness.number: witness for witness in witnesses if witness.lane is not None}
        self._pulses = {number: known.get(number) or Pulse(witness) for number, witness in proven.items()}
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(BEAT_S, self._beat)

    def _beat(self) -> None:
        self._timer = None
        if self._transport is None or not self._transport.is_open():
            return
        for number, pulse in self._pulses.items():
            if pulse.witness.number == number:
                pulse.sent += 1
                pulse.witness.publish(self._subject, b"%d %d" % (number, pulse.sent))
        self._timer = asyncio.get_running_loop().call_later(BEAT_S, self._beat)

    def _take(self, body: bytes) -> None:
        number, _, count = body.partition(b" ")
        if len(body) > BEAT_BYTES_MAX or not (number.isdigit() and count.isdigit()):
            _LOG.info("a foreign message came where beats come: %r", body[:40])
            return
        pulse = self._pulses.get(int(number))
        if pulse is not None:
            expected, pulse.heard = pulse.heard + 1, int(count)
            if pulse.heard != expected:
                self._missed(pulse.witness)

    def end(self) -> None:
        """Let nobody beat any more."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._transport = None
        self._pulses = {}
