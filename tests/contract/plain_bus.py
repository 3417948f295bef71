"""The local bus with mailboxes and an exchange in plain Python: what the native ones are compared with, and easy to break."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from aether import CommitTooLargeError, Event, LocalEventBus, SubscriptionLaggedError
from aether._native import bus_body
from aether.bus.intake import Intake

if TYPE_CHECKING:
    from aether.bus.arguments import SubscribeOptions

EVENT_BYTES_MAX = 1_048_576
AT_ONCE = 256


class PlainMailbox:
    """A queue of events with their reply keys, and of counts where events are missing."""

    def __init__(self, options: SubscribeOptions) -> None:
        self.options = options
        self.queue: deque[tuple[Event, str | None] | int] = deque()
        self.delivered = self.missed = self.damaged = self.pending = self.pending_bytes = self.in_a_row = 0
        self.closed = False

    def wants(self, event: Event) -> bool:
        """Say whether the subscription is to this event."""
        wanted = self.options
        return (
            wanted.actor_id in (None, event.actor_id)
            and event.actor_id.startswith(wanted.actor_prefix or "")
            and wanted.event_type in (None, event.event_type)
        )

    def size(self, event: Event) -> int:
        """Return about what an event takes."""
        return len(event.payload) + 200

    def has_room(self, event: Event) -> bool:
        """Say whether an event fits."""
        return self.pending < self.options.max_pending and self.pending_bytes + self.size(event) <= self.options.max_pending_bytes

    def offer(self, event: Event, reply: str | None) -> None:
        """Take an event, or count it as missed."""
        if self.closed:
            return
        if self.options.policy == "drop_oldest" and self.size(event) <= self.options.max_pending_bytes:
            while not self.has_room(event):
                self.drop()
        if self.has_room(event):
            self.queue.append((event, reply))
            self.pending += 1
            self.pending_bytes += self.size(event)
        else:
            self.miss()

    def drop(self) -> None:
        """Drop the oldest event."""
        self.pop()
        self.delivered -= 1
        self.missed += 1

    def miss(self) -> None:
        """Count an event that has no room, and mark where it is missing."""
        self.missed += 1
        if self.options.policy == "drop_oldest":
            return
        if self.queue and isinstance(self.queue[-1], int):
            self.queue[-1] += 1
        else:
            self.queue.append(1)

    def pop(self) -> tuple[Event, str | None]:
        """Take out what stands first; raise a gap."""
        first = self.queue.popleft()
        if isinstance(first, int):
            raise SubscriptionLaggedError(first)
        self.pending -= 1
        self.pending_bytes -= self.size(first[0])
        self.delivered += 1
        return first

    def next(self) -> Event | None:
        """Return one event; None: there is none, or others are to have a turn."""
        if not self.queue or self.in_a_row >= AT_ONCE:
            self.in_a_row = 0
            return None
        self.in_a_row += 1
        return self.pop()[0]

    def take_requests(self, limit: int) -> list[tuple[Event, str | None]]:
        """Return events up to a gap."""
        found = []
        while self.queue and len(found) < limit and not (found and isinstance(self.queue[0], int)):
            found.append(self.pop())
        return found

    def take(self, limit: int) -> list[Event]:
        """Return events up to a gap."""
        return [event for event, _ in self.take_requests(limit)]

    def take_with_namespaces(self, limit: int) -> list[tuple[str, Event]]:
        """Return events of the namespace that has no name."""
        return [("", event) for event in self.take(limit)]

    def has_next(self) -> bool:
        """Say whether there is something to give."""
        return bool(self.queue)

    def is_ended(self) -> bool:
        """Say whether there will never be."""
        return self.closed and not self.queue

    def close(self) -> None:
        """Take nothing more."""
        self.closed = True

    def clear(self) -> None:
        """Forget everything."""
        self.queue.clear()
        self.pending = 0


class PlainExchange:
    """Mailboxes by number, each with its group."""

    def __init__(self) -> None:
        self.members: dict[int, tuple[PlainMailbox, str | None]] = {}
        self.last = self.turn = 0
        self.woken: set[int] = set()

    def __len__(self) -> int:
        return len(self.members)

    def attach(self, mailbox: PlainMailbox, group: str | None = None) -> int:
        """Add a mailbox."""
        self.last += 1
        self.members[self.last] = (mailbox, group)
        return self.last

    def detach(self, number: int) -> None:
        """Remove a mailbox."""
        del self.members[number]

    def touched(self) -> list[int]:
        """Return who got something."""
        woken, self.woken = list(self.woken), set()
        return woken

    def chosen(self, event: Event) -> list[int]:
        """Return who gets an event: all that want it, of a group one in turn."""
        wanting = [number for number, (mailbox, _) in self.members.items() if mailbox.wants(event)]
        groups: dict[str, list[int]] = {}
        for number in wanting:
            group = self.members[number][1]
            if group is not None:
                groups.setdefault(group, []).append(number)
        self.turn += 1
        alone = [number for number in wanting if self.members[number][1] is None]
        return alone + [members[self.turn % len(members)] for members in groups.values()]

    def takers(self, event: Event) -> int:
        """Return how many would get an event."""
        return len(self.chosen(event))

    def check(self, event: Event) -> None:
        """Refuse what no message would hold."""
        size = len(bus_body(event))
        if size > EVENT_BYTES_MAX:
            raise CommitTooLargeError(event.actor_id, size, EVENT_BYTES_MAX)

    def publish(self, events: list[Event], start: int = 0, reply: str | None = None) -> tuple[int, int | None]:
        """Give out events to all or nobody."""
        for index in range(start, len(events)):
            event = events[index]
            self.check(event)
            chosen = self.chosen(event)
            for number in chosen:
                mailbox = self.members[number][0]
                if mailbox.options.policy == "block" and not mailbox.has_room(event):
                    return index, number
            for number in chosen:
                self.give(number, event, reply)
        return len(events), None

    def give(self, number: int, event: Event, reply: str | None) -> None:
        """Give an event to one."""
        self.members[number][0].offer(event, reply)
        self.woken.add(number)


class PlainBus(LocalEventBus):
    """The local bus over these."""

    mailbox_type: type[PlainMailbox] = PlainMailbox
    exchange_type: type[PlainExchange] = PlainExchange

    def __init__(self, *, timeout_s: float = 0.5) -> None:
        super().__init__(timeout_s=timeout_s)
        self._exchange = self.exchange_type()

    def _make_intake(self, options: SubscribeOptions) -> Intake:
        intake = Intake(options)
        intake.mailbox = self.mailbox_type(options)
        return intake
