"""Beats: numbers that witnesses publish again and again, so that what a route loses on its way is noticed.

INFO says when the last connection between two servers is gone. But a route has several, an account's messages use one of them,
and a server closes that one alone where the other takes too little, with all that waits in it; INFO says nothing then. So each
witness publishes to us what it counts, over the same way that events from its server take, and a number that is missing tells
that events may be missing too. So does a long silence: a route that stalls loses nothing yet, and may never go on. A break
in which no beat was lost, shorter than the time between two, stays unnoticed.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from aether._native import publish_frame
from aether.nats.errors import UnansweredError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from aether.nats.transport import Transport
    from aether.nats.witness import Witness

__all__ = ["Beats"]

BEAT_S = 0.03
"""How long it is from one beat to the next. A server mends a route of its configuration after a second, and one that it learned
of from others within 30 to 100 ms."""

SILENT_S = 2.0
"""How long no beat of a server may come, before its route is taken for broken."""

BEAT_BYTES_MAX = 40
"""Two numbers and a space; what is longer is no beat."""

_LOG = logging.getLogger("aether.nats")


class Pulse:
    """One connection of a witness.

    Attributes:
        witness: whose.
        sent: how many beats went out.
        heard: the last one that came, or that is counted as such.
        missed: whether one was missed since it was proven.
        asking: asks whether it is only our own connection that is slow.
    """

    def __init__(self, witness: Witness) -> None:
        self.witness = witness
        self.sent = self.heard = 0
        self.missed = False
        self.asking: asyncio.Task[None] | None = None


class Beats:
    """The beats of all witnesses of one transport.

    Args:
        missed: called with a witness whose beats are missing, and what is known of that; once until it is proven again.
    """

    def __init__(self, missed: Callable[[Witness, str], None]) -> None:
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
        known, self._pulses = self._pulses, {}
        for witness in witnesses:
            pulse = known.pop(witness.number) if witness.number in known else Pulse(witness)
            self._pulses[witness.number] = pulse
            if pulse.missed:
                # What was sent before the proof has come, or never will.
                pulse.missed, pulse.heard = False, pulse.sent
        for pulse in known.values():
            _stop_asking(pulse)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(BEAT_S, self._beat)

    def _beat(self) -> None:
        self._timer = None
        if self._transport is None or not self._transport.is_open():
            return
        for number, pulse in self._pulses.items():
            if pulse.witness.number == number:
                pulse.sent += 1
                pulse.witness.send(publish_frame(self._subject, "", [], b"%d %d" % (number, pulse.sent)))
                if pulse.sent - pulse.heard > SILENT_S / BEAT_S and pulse.asking is None and not pulse.missed:
                    pulse.asking = asyncio.create_task(self._ask(pulse, self._transport), name="aether-nats-beats")
        self._timer = asyncio.get_running_loop().call_later(BEAT_S, self._beat)

    async def _ask(self, pulse: Pulse, transport: Transport) -> None:
        """Take a silence for a loss, if all that our own server had for us by now has come, and what is due was not among it."""
        due = pulse.sent - round(SILENT_S / BEAT_S / 2)
        try:
            await transport.flush(asyncio.get_running_loop().time() + 5 * SILENT_S)
        except UnansweredError as error:
            _LOG.debug("whether %s is silent: %s", pulse.witness.server.shown, error)
        else:
            if pulse.heard < due:
                self._miss(pulse, f"nothing came from there for {SILENT_S:g} s")
        finally:
            pulse.asking = None

    def _take(self, body: bytes) -> None:
        number, _, count = body.partition(b" ")
        if len(body) > BEAT_BYTES_MAX or not (number.isdigit() and count.isdigit()):
            _LOG.info("a foreign message came where beats come: %r", body[:40])
            return
        pulse = self._pulses.get(int(number))
        if pulse is not None:
            heard = int(count)
            if heard > pulse.heard + 1:
                self._miss(pulse, "a route lost what came from there")
            pulse.heard = max(pulse.heard, heard)

    def _miss(self, pulse: Pulse, reason: str) -> None:
        if not pulse.missed:
            pulse.missed = True
            self._missed(pulse.witness, reason)

    def end(self) -> None:
        """Let nobody beat any more."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._transport = None
        for pulse in self._pulses.values():
            _stop_asking(pulse)
        self._pulses = {}


def _stop_asking(pulse: Pulse) -> None:
    if pulse.asking is not None:
        pulse.asking.cancel()
