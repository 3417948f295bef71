"""Planted bugs of buses: what happens where more comes than a subscription may hold, and what is told of it."""

from __future__ import annotations

from plain_bus import PlainBus, PlainExchange, PlainMailbox
from planted import bus_caught_by

from aether import Event, SubscriptionLaggedError


class GapFirst(PlainMailbox):
    """Tells a gap as soon as it knows of it."""

    def miss(self) -> None:
        """Put it in front."""
        super().miss()
        if isinstance(self.queue[-1], int):
            gap = self.queue.pop()
            if self.queue and isinstance(self.queue[0], int):
                gap += self.queue.popleft()
            self.queue.appendleft(gap)


@bus_caught_by("test_a_gap_is_told_where_it_is", "test_a_batch_ends_before_a_gap")
class TellsGapsEarly(PlainBus):
    """Tells a gap before the events that came before it."""

    mailbox_type = GapFirst


class OneShort(PlainMailbox):
    """Counts gaps from the second event on."""

    def pop(self) -> tuple[Event, str | None]:
        """Tell one less."""
        try:
            return super().pop()
        except SubscriptionLaggedError as error:
            raise SubscriptionLaggedError(max(1, error.missed - 1)) from None


@bus_caught_by("test_a_gap_is_told_where_it_is", "test_bytes_are_bounded", "test_a_slow_reader_knows_what_it_missed")
class MiscountsGaps(PlainBus):
    """Tells of one event less than is missing."""

    mailbox_type = OneShort


class Silent(PlainMailbox):
    """Drops without a word."""

    def miss(self) -> None:
        """Count, and leave no mark."""
        self.missed += 1


@bus_caught_by("test_a_gap_is_told_where_it_is", "test_a_gap_goes_to_the_policy", "test_a_slow_reader_knows_what_it_missed")
class DropsInSilence(PlainBus):
    """Tells nobody of what is missed."""

    mailbox_type = Silent


class Sleeping(PlainExchange):
    """Wakes nobody for a gap."""

    def give(self, number: int, event: Event, reply: str | None) -> None:
        """Wake for events only."""
        before = self.members[number][0].missed
        super().give(number, event, reply)
        if self.members[number][0].missed > before:
            self.woken.discard(number)


@bus_caught_by("test_a_gap_is_told_to_who_waits")
class GapsWakeNobody(PlainBus):
    """Leaves a reader asleep that could be told of a gap."""

    exchange_type = Sleeping


class Weightless(PlainMailbox):
    """Does not weigh."""

    def size(self, event: Event) -> int:
        """Say nothing weighs anything."""
        return 0


@bus_caught_by("test_bytes_are_bounded", "test_one_that_never_fits_is_missed")
class NoBoundOfBytes(PlainBus):
    """Counts events and not their bytes."""

    mailbox_type = Weightless


class NewestGoes(PlainMailbox):
    """Drops the newest where the oldest is to go."""

    def drop(self) -> None:
        """Drop at the other end."""
        last, _ = self.queue.pop()
        self.pending -= 1
        self.pending_bytes -= self.size(last)
        self.missed += 1


@bus_caught_by("test_the_oldest_give_way", "test_bytes_are_bounded")
class DropsTheNewest(PlainBus):
    """Keeps the oldest events under "drop_oldest"."""

    mailbox_type = NewestGoes


class AllBlock(PlainExchange):
    """Makes publishers wait for whoever is full."""

    def publish(self, events: list[Event], start: int = 0, reply: str | None = None) -> tuple[int, int | None]:
        """Stop at the first that has no room."""
        for index in range(start, len(events)):
            for number in self.chosen(events[index]):
                if not self.members[number][0].has_room(events[index]):
                    return index, number
            super().publish([events[index]], 0, reply)
        return len(events), None


@bus_caught_by("test_a_slow_one_costs_others_nothing")
class SlowOnesStopAll(PlainBus):
    """Lets a subscription that is not read stop everybody."""

    exchange_type = AllBlock


class NobodyBlocks(PlainMailbox):
    """Has room in any case."""

    def has_room(self, event: Event) -> bool:
        """Say yes where publishers would wait."""
        return self.options.policy == "block" or super().has_room(event)


@bus_caught_by("test_publishers_may_wait")
class BlocksNobody(PlainBus):
    """Has no bound under "block"."""

    mailbox_type = NobodyBlocks


class Merging(PlainMailbox):
    """Takes over gaps in a batch."""

    def take_requests(self, limit: int) -> list[tuple[Event, str | None]]:
        """Skip gaps behind the first event."""
        found = super().take_requests(limit)
        while found and self.queue and len(found) < limit and isinstance(self.queue[0], int):
            self.queue.popleft()
            if self.queue:
                found += super().take_requests(limit - len(found))
        return found


@bus_caught_by("test_a_batch_ends_before_a_gap")
class BatchesReachAcrossGaps(PlainBus):
    """Gives events from both sides of a gap in one batch, and tells nobody."""

    mailbox_type = Merging
