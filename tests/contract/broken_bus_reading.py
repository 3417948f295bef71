"""Planted bugs of buses: reading, counters, and the end."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, ClassVar

from plain_bus import PlainBus, PlainMailbox
from planted import bus_caught_by

from aether.bus.subscription import BusSubscription

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aether import Event
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
