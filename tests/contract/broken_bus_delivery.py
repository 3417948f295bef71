"""Planted bugs of buses: who gets what, in which order, and in which group."""

from __future__ import annotations

import asyncio
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from plain_bus import EVENT_BYTES_MAX, PlainBus, PlainExchange, PlainMailbox
from planted import bus_caught_by

from aether import Event

if TYPE_CHECKING:
    from collections.abc import Iterable

    from aether.bus.intake import Intake


class PatternMailbox(PlainMailbox):
    """Takes an id for a pattern."""

    def wants(self, event: Event) -> bool:
        """Match instead of comparing."""
        wanted = self.options
        return fnmatchcase(event.actor_id, wanted.actor_id or "*") and fnmatchcase(event.event_type, wanted.event_type or "*")


@bus_caught_by("test_any_name_is_literal")
class PatternIds(PlainBus):
    """Hears the actors that an id like `*` matches."""

    mailbox_type = PatternMailbox


class PatternPrefixMailbox(PlainMailbox):
    """Takes a prefix for the beginning of a pattern."""

    def wants(self, event: Event) -> bool:
        """Match instead of comparing."""
        return super().wants(event) or fnmatchcase(event.actor_id, (self.options.actor_prefix or "\0") + "*")


@bus_caught_by("test_any_beginning_is_literal")
class PatternPrefixes(PlainBus):
    """Hears the actors that a prefix like `*` matches."""

    mailbox_type = PatternPrefixMailbox


class AnyTypeMailbox(PlainMailbox):
    """Forgets one of two conditions."""

    def wants(self, event: Event) -> bool:
        """Look at the type only where no actor is given."""
        if self.options.actor_id is not None:
            return event.actor_id == self.options.actor_id
        return super().wants(event)


@bus_caught_by("test_each_hears_what_it_asked_for", "test_nobody_is_told_at_once")
class IgnoresTheSecondCondition(PlainBus):
    """Hears all types of an actor, though one is asked for."""

    mailbox_type = AnyTypeMailbox


@bus_caught_by("test_a_subscription_is_ready_when_it_returns", "test_coming_and_going_costs_nobody_anything")
class LateReady(PlainBus):
    """Returns from `subscribe` before it hears anything, as a bus that does not wait for its server."""

    async def _attach(self, intake: Intake, deadline: float) -> str:
        asyncio.create_task(self._attach_later(intake, deadline))  # noqa: RUF006 - a bug
        return "process"

    async def _attach_later(self, intake: Intake, deadline: float) -> None:
        for _ in range(3):
            await asyncio.sleep(0)
        await super()._attach(intake, deadline)


@bus_caught_by("test_what_was_published_before_is_not_heard")
class Retains(PlainBus):
    """Greets a subscriber with the last event."""

    last: Event | None = None

    async def _send(self, events: list[Event], before: int) -> None:
        self.last = events[-1]
        await super()._send(events, before)

    async def _attach(self, intake: Intake, deadline: float) -> str:
        ready = await super()._attach(intake, deadline)
        if self.last is not None:
            intake.mailbox.offer(self.last, None)
        return ready


class FirstOnly(PlainExchange):
    """Stops at the first who wants an event."""

    def chosen(self, event: Event) -> list[int]:
        """Return one."""
        return super().chosen(event)[:1]


@bus_caught_by(
    "test_it_is_heard_at_home",
    "test_a_slow_one_costs_others_nothing",
    "test_groups_and_others_do_not_share",
    "test_a_request_is_an_event_to_others",
    "test_the_first_answer_counts",
)
class DeliversToOne(PlainBus):
    """Delivers each event to one subscription."""

    exchange_type = FirstOnly


class Rebuilding(PlainExchange):
    """Makes the event anew on its way."""

    def give(self, number: int, event: Event, reply: str | None) -> None:
        """Forget metadata and time."""
        super().give(number, Event(event.actor_id, event.event_type, event.version, event.data, id=event.id), reply)


@bus_caught_by("test_an_event_arrives_as_it_is", "test_a_request_is_an_event_to_others", "test_pairs_name_the_namespace")
class ForgetsMetadata(PlainBus):
    """Delivers an event that is not quite the one published."""

    exchange_type = Rebuilding


@bus_caught_by("test_many_arrive_in_order", "test_each_publisher_keeps_its_order", "test_one_by_one_and_many_keep_their_order")
class Reorders(PlainBus):
    """Sends what fits the least last."""

    async def _send(self, events: list[Event], before: int) -> None:
        await super()._send(sorted(events, key=lambda event: event.version % 5), before)


@bus_caught_by("test_what_came_before_a_wrong_item_is_published")
class PullsFirst(PlainBus):
    """Pulls everything before it publishes anything."""

    async def publish_many(self, events: Iterable[Event]) -> None:
        """Make a list of it."""
        await super().publish_many(list(events))


@bus_caught_by("test_nothing_is_published_of_nothing", "test_one_event_is_not_many")
class WantsSomething(PlainBus):
    """Takes the first of the events before it looks whether there is one, and one event for a list."""

    async def publish_many(self, events: Iterable[Event]) -> None:
        """Look at the first."""
        found = [events] if isinstance(events, Event) else list(events)
        assert found[0]
        await super().publish_many(found)


class Unbounded(PlainExchange):
    """Has no bound for an event."""

    def check(self, event: Event) -> None:
        """Check nothing."""


@bus_caught_by("test_a_too_large_event_is_refused")
class TakesAnySize(PlainBus):
    """Takes events that no message holds."""

    exchange_type = Unbounded


class LosesLarge(PlainExchange):
    """Loses in silence what is large."""

    def give(self, number: int, event: Event, reply: str | None) -> None:
        """Give what is small."""
        if len(event.payload) < EVENT_BYTES_MAX // 4:
            super().give(number, event, reply)


@bus_caught_by("test_a_large_event_arrives")
class LosesLargeEvents(PlainBus):
    """Drops a large event without a trace."""

    exchange_type = LosesLarge


@bus_caught_by("test_a_flush_returns")
class FlushForgets(PlainBus):
    """Takes a flush for the end of what waits."""

    async def _flush(self, deadline: float) -> None:
        for mailbox, _ in self._exchange.members.values():
            mailbox.clear()


class TakesAlong(PlainExchange):
    """Confuses two subscriptions when one leaves."""

    def detach(self, number: int) -> None:
        """Remove the oldest instead."""
        super().detach(min(self.members))


@bus_caught_by("test_a_closed_subscription_hears_nothing", "test_coming_and_going_costs_nobody_anything")
class LeavingTakesAnotherAlong(PlainBus):
    """Detaches another subscription than the one that was closed."""

    exchange_type = TakesAlong

    async def _detach(self, intake: Intake) -> None:
        if self._exchange.members:
            await super()._detach(intake)


# Groups.


class NoGroups(PlainExchange):
    """Knows no groups."""

    def chosen(self, event: Event) -> list[int]:
        """Return all."""
        return [number for number, (mailbox, _) in self.members.items() if mailbox.wants(event)]


@bus_caught_by("test_each_event_goes_to_one_member", "test_handlers_share", "test_one_of_a_group_answers")
class GroupsAreIgnored(PlainBus):
    """Gives every member everything."""

    exchange_type = NoGroups


class SameMember(PlainExchange):
    """Never changes turns."""

    def chosen(self, event: Event) -> list[int]:
        """Stay."""
        self.turn = -1
        return super().chosen(event)


@bus_caught_by("test_each_event_goes_to_one_member", "test_members_come_and_go")
class OneMemberDoesAll(PlainBus):
    """Gives all the work to the first."""

    exchange_type = SameMember


class OneGroup(PlainExchange):
    """Takes all groups for one."""

    def attach(self, mailbox: PlainMailbox, group: str | None = None) -> int:
        """Forget the name."""
        return super().attach(mailbox, group and "group")


@bus_caught_by("test_groups_and_others_do_not_share", "test_any_name_is_a_group")
class GroupsAreOne(PlainBus):
    """Mixes the members of different groups."""

    exchange_type = OneGroup


class BlindTurns(PlainExchange):
    """Picks a member before it looks what that one wants."""

    def chosen(self, event: Event) -> list[int]:
        """Pick, then look."""
        self.turn += 1
        grouped = [number for number, (_, group) in self.members.items() if group is not None]
        alone = [number for number, (_, group) in self.members.items() if group is None]
        picked = [*alone, *grouped[self.turn % len(grouped) :][:1]] if grouped else alone
        return [number for number in picked if self.members[number][0].wants(event)]


@bus_caught_by("test_an_event_goes_to_a_member_that_wants_it")
class TurnsAreBlind(PlainBus):
    """Gives an event to a member that does not want it, which drops it."""

    exchange_type = BlindTurns


@bus_caught_by("test_other_beginnings_are_other_groups")
class GroupByNameAlone(PlainBus):
    """Takes members with different prefixes for one group."""

    async def _attach(self, intake: Intake, deadline: float) -> str:
        number = self._exchange.attach(intake.mailbox, intake.options.group)
        self._intakes[number], self._numbers[intake] = intake, number
        return "process"


class Haunted(PlainExchange):
    """Still gives a turn to a member that has left."""

    def __init__(self) -> None:
        super().__init__()
        self.ghosts: dict[int, tuple[PlainMailbox, str | None]] = {}

    def detach(self, number: int) -> None:
        """Remember who was here."""
        if self.members[number][1] is not None:
            self.ghosts[number] = self.members[number]
        super().detach(number)

    def chosen(self, event: Event) -> list[int]:
        """Count those who left."""
        living, self.members = self.members, self.members | self.ghosts
        try:
            return [number for number in super().chosen(event) if number in living]
        finally:
            self.members = living


@bus_caught_by("test_members_come_and_go")
class GhostsHaveTurns(PlainBus):
    """Loses what would go to a member that has left."""

    exchange_type = Haunted
