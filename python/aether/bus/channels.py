"""A subscription on the server and who takes from it: marks where events may be missing, and what waits behind them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aether._native import Exchange

if TYPE_CHECKING:
    import asyncio

    from aether.bus.intake import Intake
    from aether.errors import AetherError
    from aether.nats.transport import Feed, Transport

__all__ = ["Channel", "Line", "Seat"]


class Line:
    """A subscription on one connection; it ends with that connection.

    Attributes:
        transport: the connection.
        feed: the transport's side of it; None while it is made.
    """

    def __init__(self, transport: Transport) -> None:
        self.transport = transport
        self.feed: Feed | None = None


class Channel:
    """A subscription on the server over all its connections, and who takes from it.

    Attributes:
        users: how many take from it, or wait until they can.
        line: where it comes from now; None: it is to be made anew.
        is_proven: whether every server that must know it does.
        unproven: servers that it goes on without, so that what is published there may be missed.
        refusal: why there will be no more of it.
        proving: done when the one who proves it has ended, well or not; None: nobody does.
    """

    def __init__(self, subject: str, queue: str | None, namespace: str | None) -> None:
        self.subject, self.queue = subject, queue
        self.exchange = Exchange(namespace)
        self.takers: dict[int, Intake] = {}
        self.users = 0
        self.line: Line | None = None
        self.is_proven = False
        self.unproven: tuple[str, ...] = ()
        self.refusal: AetherError | None = None
        self.proving: asyncio.Future[None] | None = None
        self._holds: dict[int, int] = {}

    def is_live(self) -> bool:
        """Say whether what is published now arrives."""
        return self.line is not None and self.is_proven

    def is_broken(self) -> bool:
        """Say whether somebody takes from it, it is not live, and nobody is at it."""
        return bool(self.users and self.takers) and not self.is_live() and self.proving is None and self.refusal is None

    def seat(self, taker: Intake) -> Seat:
        """Give `taker` what comes from now on."""
        number = self.exchange.attach(taker.mailbox)
        self.takers[number] = taker
        return Seat(self, number)

    def leave(self, number: int) -> None:
        """End what `seat` began."""
        self.exchange.detach(number)
        taker = self.takers.pop(number, None)
        hold = self._holds.pop(number, None)
        if taker is not None and hold is not None:
            taker.resume(hold)

    def tell(self, seat: Seat, reason: str) -> None:
        """Mark for one who takes from it that from here on events may be missing, and do not hold what comes."""
        self.takers[seat.number].note_gap(reason)

    def wake(self) -> None:
        """Let those look whose mailboxes got something."""
        for number in self.exchange.touched():
            taker = self.takers.get(number)
            if taker is not None:
                taker.wake()

    def interrupt(self, reason: str) -> None:
        """Mark for all who take from it that from here on events may be missing; what comes is held until `proven`."""
        self.is_proven = False
        for number, taker in self.takers.items():
            # One mark for a gap, however often it is torn open again before it is closed.
            if number not in self._holds:
                self._holds[number] = taker.interrupt(reason)

    def go_on_without(self, servers: tuple[str, ...], reason: str) -> None:
        """Let all who take from it go on though it is not proven on some servers; they are told that this is so."""
        if self._holds or servers != self.unproven:
            self.unproven = servers
            self._resume()
            self._tell(reason, "server")

    def proven(self) -> None:
        """Let all who take from it go on."""
        self.is_proven = True
        self._resume()
        if self.unproven:
            servers, self.unproven = ", ".join(self.unproven), ()
            self._tell(f"what is published on {servers} is heard again, or can be no more", "cluster")

    def _resume(self) -> None:
        holds, self._holds = self._holds, {}
        for number, hold in holds.items():
            self.takers[number].resume(hold)

    def _tell(self, reason: str, ready: str) -> None:
        for taker in self.takers.values():
            taker.ready = ready
            taker.note_gap(reason)


class Seat:
    """A place at a channel; give it back with `Feeds.leave`."""

    def __init__(self, channel: Channel, number: int) -> None:
        self.channel, self.number = channel, number
