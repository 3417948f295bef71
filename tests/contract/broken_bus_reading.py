"""Planted bugs of buses: reading, counters, the end, and bounds."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, ClassVar

from plain_bus import PlainBus, PlainExchange, PlainMailbox
from planted import bus_caught_by

from aether import Event, SubscriptionLaggedError
from aether.bus.subscription import BusSubscription

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aether.bus.arguments import SubscribeOptions
    from aether.bus.base import SubscriptionStats


class BusOf(PlainBus):
    """A bus with subscriptions of another class."""

    subscription_type: type[BusSubscription] = BusSubscription

    async def _subscribe(self, options: SubscribeOptions, *, registered: bool = False) -> BusSubscription:
        made = await super()._subscribe(options, registered=registered)
        made.__class__ = self.subscription_type
        return made


class Lossy(BusSubscription):
    """Waits once more when it has its event already."""

    async def __anext__(self) -> Event:
        """Take, then wait."""
        event = await super().__anext__()
        await asyncio.sleep(0)
        return event


@bus_caught_by("test_a_read_given_up_takes_nothing")
class LosesWhatIsGivenUp(BusOf):
    """Loses the event of a read that is cancelled after it came."""

    subscription_type = Lossy


class Generating(BusSubscription):
    """Has batches from an async generator, which ends with the first error."""

    async def batches(self, batch_size: int = 1000) -> AsyncIterator[list[Event]]:
        """Yield."""
        async for batch in super().batches(batch_size):
            yield batch


@bus_caught_by("test_a_read_may_time_out", "test_a_batch_ends_before_a_gap", "test_a_wrong_batch_size_is_refused")
class BatchesEndWithAnError(BusOf):
    """Does not go on behind an error, a time-out, or a gap, and checks its argument when it is too late."""

    subscription_type = Generating


class Restless(PlainMailbox):
    """Never lets others have a turn."""

    def next(self) -> Event | None:
        """Give on and on."""
        self.in_a_row = 0
        return super().next()


@bus_caught_by("test_a_busy_reader_lets_others_run")
class KeepsTheLoop(PlainBus):
    """Gives all that waits without a turn for others."""

    mailbox_type = Restless


class Generous(PlainMailbox):
    """Gives one more than asked for."""

    def take(self, limit: int) -> list[Event]:
        """Take one more."""
        return super().take(limit + 1)


@bus_caught_by("test_batches_hold_what_is_there", "test_the_counters_add_up")
class BatchesAreTooLarge(PlainBus):
    """Gives batches of more than `batch_size`."""

    mailbox_type = Generous


class Peeking(PlainMailbox):
    """Gives batches without taking their last event out."""

    def take(self, limit: int) -> list[Event]:
        """Put the last back."""
        taken = self.take_requests(limit)
        if len(taken) > 1:
            self.queue.appendleft(taken[-1])
            self.pending += 1
            self.delivered -= 1
        return [event for event, _ in taken]


@bus_caught_by("test_both_ways_of_reading_share_a_subscription", "test_batches_hold_what_is_there")
class GivesSomeTwice(PlainBus):
    """Gives the last event of a batch to the next reader too."""

    mailbox_type = Peeking


class Lingering(BusSubscription):
    """Gives what is pending after it was closed."""

    async def __anext__(self) -> Event:
        """Look into what was kept."""
        return self.kept.pop(0) if getattr(self, "kept", None) else await super().__anext__()

    async def aclose(self) -> None:
        """Keep what waits."""
        self.kept = self._mailbox.take(1000)
        await super().aclose()


@bus_caught_by("test_closing_ends_who_reads")
class GoesOnWhenClosed(BusOf):
    """Delivers what was pending when it was closed."""

    subscription_type = Lingering


class Miscounting(PlainMailbox):
    """Counts what is missed among what is delivered."""

    def miss(self) -> None:
        """Count it twice."""
        super().miss()
        self.delivered += 1


@bus_caught_by("test_a_gap_is_told_where_it_is", "test_a_slow_one_costs_others_nothing")
class CountsTwice(PlainBus):
    """Has counters that do not add up."""

    mailbox_type = Miscounting


class Forgetful(BusSubscription):
    """Forgets its counters with what it holds."""

    def stats(self) -> SubscriptionStats:
        """Count anew."""
        return super().stats() if self.is_live else super().stats()._replace(pending=0)


@bus_caught_by("test_the_counters_add_up", "test_closing_waits_for_handlers_that_run")
class ForgetsWhatWasPending(BusOf):
    """Says of a closed subscription that nothing was pending."""

    subscription_type = Forgetful


@bus_caught_by("test_closing_the_bus_closes_all", "test_a_handler_may_close_the_bus")
class LeavesReadersWaiting(PlainBus):
    """Closes itself and leaves its subscriptions as they are."""

    async def _close_subscriptions(self) -> None:
        """Close none."""


class Clinging(BusSubscription):
    """Does not close when its block is left."""

    async def __aexit__(self, *_: object) -> None:
        """Do nothing."""


@bus_caught_by("test_the_block_closes_it")
class StaysOpen(BusOf):
    """Leaves subscriptions open."""

    subscription_type = Clinging


class Deaf(BusSubscription):
    """Says that it is live whatever happens, and that it reaches further than it does."""

    is_live = True
    ready = "cluster"


@bus_caught_by("test_a_closed_subscription_hears_nothing", "test_it_says_how_far_it_reaches")
class SaysItIsLive(BusOf):
    """Never says that it hears nothing."""

    subscription_type = Deaf


class OnceOnly(BusSubscription):
    """Cannot be closed twice."""

    async def aclose(self) -> None:
        """Refuse the second time."""
        assert self._intake.is_live
        await super().aclose()


@bus_caught_by("test_closing_twice_is_closing")
class ClosesOnce(BusOf):
    """Fails when it is closed again."""

    subscription_type = OnceOnly


class Hasty(BusSubscription):
    """Takes draining for closing."""

    async def drain(self) -> None:
        """Close."""
        await self.aclose()


@bus_caught_by(
    "test_draining_handles_what_is_pending",
    "test_a_drained_reader_reads_to_the_end",
    "test_members_that_are_drained_lose_nothing",
    "test_leaving_a_handlers_block_drains",
    "test_a_handler_may_drain_what_calls_it",
)
class DrainsByClosing(BusOf):
    """Drops what is pending in a drained subscription."""

    subscription_type = Hasty


@bus_caught_by("test_a_bus_is_drained", "test_leaving_the_bus_drains_its_handlers")
class ClosesAtOnce(PlainBus):
    """Drains nothing when it is left or drained."""

    async def _drain_subscriptions(self, is_drained: object) -> list[BaseException]:
        return []


@bus_caught_by("test_a_dropped_subscription_is_released")
class KeepsWhatIsDropped(PlainBus):
    """Holds subscriptions that their readers have dropped."""

    held: ClassVar[list[BusSubscription]] = []

    async def _subscribe(self, options: SubscribeOptions, *, registered: bool = False) -> BusSubscription:
        made = await super()._subscribe(options, registered=registered)
        self.held.append(made)
        return made


class Elsewhere(PlainMailbox):
    """Names another namespace."""

    def take_with_namespaces(self, limit: int) -> list[tuple[str, Event]]:
        """Take the actor for it."""
        return [(event.actor_id, event) for event in self.take(limit)]


@bus_caught_by("test_pairs_name_the_namespace")
class NamesAnotherNamespace(PlainBus):
    """Gives events of a namespace that is not theirs."""

    mailbox_type = Elsewhere


# Bounds.


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
