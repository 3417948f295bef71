"""The bus contract: requests, and the handlers that answer them."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from aether.errors import DeadlineError, NoSubscriberError, RequestFailedError
from aether.event import Event
from aether.testing.bus_contract_base import BusCase, read, soon, until

if TYPE_CHECKING:
    from aether.bus.base import EventBus

__all__ = ["RequestsContract"]

VALUES: tuple[Any, ...] = (None, 0, True, 1.5, "é", b"\x00", [], {"a": [1, {"b": None}]}, "x" * 100_000)


@dataclass
class Reserve:
    """A command."""

    seats: int


class RequestsContract(BusCase):
    """Questions and answers."""

    async def test_a_handlers_value_is_the_answer(self, bus: EventBus, peer: EventBus, actor: str) -> None:
        """What a handler returns is what the request returns, of every kind of plain data, from another handle too."""

        async def handler(event: Event) -> Any:  # noqa: ANN401 - of every kind
            await asyncio.sleep(0)
            return event.data

        async with await bus.subscribe(actor_id=actor, handler=handler):
            for handle in (bus, peer):
                for version, value in enumerate(VALUES, 1):
                    assert await soon(handle.request(Event(actor, "Asked", version, value))) == value

    async def test_typed_handlers_answer(self, bus: EventBus, peer: EventBus, actor: str) -> None:
        """A handler registered by `on` answers; a typed answer arrives as plain data."""

        @bus.on(Reserve, actor_id=actor)
        def handler(value: Reserve, _: Event) -> Reserve:
            return Reserve(value.seats + 1)

        await bus.start()
        assert await soon(peer.request(Event(actor, "Reserve", 1, Reserve(2)))) == {"seats": 3}

    async def test_what_a_handler_raises_is_told(self, bus: EventBus, peer: EventBus, actor: str) -> None:
        """A handler's error comes back with its type and words, and goes to the handler's own policy too."""
        seen: list[str] = []

        def handler(event: Event) -> None:
            raise LookupError(f"no seat {event.data}\ud800")

        async with await bus.subscribe(
            actor_id=actor, handler=handler, on_error=lambda error, _: seen.append(type(error).__name__)
        ) as subscription:
            with pytest.raises(RequestFailedError, match=r"LookupError: no seat 7") as caught:
                await soon(peer.request(Event(actor, "Asked", 1, 7)))
            assert caught.value.reason.startswith("LookupError: no seat 7")
            await until(lambda: seen == ["LookupError"])
            assert subscription.stats().failed == 1

    async def test_an_answer_is_plain_data(self, bus: EventBus, peer: EventBus, actor: str) -> None:
        """A value that events may not hold is an error of the handler, and is told as one."""
        async with await bus.subscribe(actor_id=actor, handler=lambda _: {1, 2}, on_error=lambda _error, _event: None):
            with pytest.raises(RequestFailedError, match="EncodeError"):
                await soon(peer.request(Event(actor, "Asked", 1)))

    async def test_an_answer_has_a_size(self, bus: EventBus, peer: EventBus, actor: str) -> None:
        """An answer that does not fit one message is an error of the handler, and is told as one."""
        seen: list[Exception] = []
        async with await bus.subscribe(
            actor_id=actor, handler=lambda _: [b"x" * 700_000] * 2, on_error=lambda error, _: seen.append(error)
        ):
            with pytest.raises(RequestFailedError):
                await soon(peer.request(Event(actor, "Asked", 1)))
            await until(lambda: len(seen) == 1)

    async def test_nobody_is_told_at_once(self, bus: EventBus, peer: EventBus, actor: str) -> None:
        """Where nobody is subscribed the request fails at once, and names what was asked of whom."""
        async with (
            await bus.subscribe(actor_id=f"{actor}-other", handler=print),
            await bus.subscribe(actor_id=actor, event_type="Else", handler=print),
        ):
            with pytest.raises(NoSubscriberError) as caught:
                await soon(peer.request(Event(actor, "Asked", 1)))
        assert (caught.value.event_type, caught.value.actor_id) == ("Asked", actor)

    async def test_silence_ends(self, bus: EventBus, peer: EventBus, actor: str) -> None:
        """A request whose handler does not answer in time ends, and the next one is answered."""
        go_on = asyncio.Event()

        async def handler(event: Event) -> int:
            if event.version == 1:
                await go_on.wait()
            return event.version

        async with await bus.subscribe(actor_prefix=actor, handler=handler):
            with pytest.raises(DeadlineError, match="'Asked'"):
                await soon(peer.request(Event(actor, "Asked", 1), 0.05))
            assert await soon(peer.request(Event(f"{actor}-2", "Asked", 2))) == 2
            go_on.set()
            assert await soon(peer.request(Event(actor, "Asked", 3))) == 3

    async def test_readers_do_not_answer(self, bus: EventBus, peer: EventBus, actor: str) -> None:
        """A request reaches those who read as any event does, and as they do not answer, its time passes."""
        sent = Event(actor, "Asked", 1)
        async with await bus.subscribe(actor_id=actor) as subscription:
            for timeout_s in (0.05, 1.0, 10.0):  # on a busy machine little time may pass before anything is sent
                with pytest.raises(DeadlineError):
                    await soon(peer.request(sent, timeout=timeout_s))
                if subscription.stats().pending:
                    break
            assert await read(subscription, 1) == [sent]

    async def test_many_at_once_get_their_own(self, bus: EventBus, peer: EventBus, actor: str) -> None:
        """Of 200 requests at once, from two handles, each gets the answer to its own."""

        async def handler(event: Event) -> list[object]:
            for _ in range(event.version % 4):
                await asyncio.sleep(0)
            return [event.actor_id, event.version]

        async with await bus.subscribe(actor_prefix=f"{actor}-", handler=handler):
            asked = [Event(f"{actor}-{index % 7}", "Asked", index + 1) for index in range(200)]
            answers = await soon(asyncio.gather(*((bus, peer)[index % 2].request(event) for index, event in enumerate(asked))))
        assert answers == [[event.actor_id, event.version] for event in asked]

    async def test_the_first_answer_counts(self, bus: EventBus, peer: EventBus, actor: str) -> None:
        """Of several handlers all are called, and the first that answers is heard."""
        called: list[str] = []
        go_on = asyncio.Event()

        async def slow(_: Event) -> str:
            called.append("slow")
            await go_on.wait()
            return "slow"

        async def quick(_: Event) -> str:
            called.append("quick")
            return "quick"

        async with await bus.subscribe(actor_id=actor, handler=slow), await bus.subscribe(actor_id=actor, handler=quick):
            assert await soon(peer.request(Event(actor, "Asked", 1))) == "quick"
            go_on.set()
            assert await soon(peer.request(Event(actor, "Asked", 2))) in ("slow", "quick")
            await until(lambda: called.count("quick") == 2)

    async def test_one_of_a_group_answers(self, bus: EventBus, peer: EventBus, actor: str) -> None:
        """A request to a group is handled once."""
        called: list[int] = []

        def handler(event: Event) -> int:
            called.append(event.version)
            return event.version

        members = [await handle.subscribe(actor_id=actor, group="workers", handler=handler) for handle in (bus, peer)]
        for version in range(1, 21):
            assert await soon(peer.request(Event(actor, "Asked", version))) == version
        assert called == [*range(1, 21)]
        for member in members:
            await member.aclose()

    async def test_a_handler_may_ask_others(self, bus: EventBus, peer: EventBus, actor: str) -> None:
        """A handler may send a request itself before it answers."""

        async def outer(event: Event) -> object:
            return ["outer", await bus.request(Event(actor, "Inner", event.version))]

        async with (
            await bus.subscribe(actor_id=actor, event_type="Outer", handler=outer),
            await peer.subscribe(actor_id=actor, event_type="Inner", handler=lambda event: event.version),
        ):
            assert await soon(peer.request(Event(actor, "Outer", 5))) == ["outer", 5]

    async def test_a_request_is_an_event_to_others(self, bus: EventBus, peer: EventBus, actor: str) -> None:
        """Others than the one that answers hear a request as an event equal as a whole."""
        sent = Event(actor, "Asked", 1, {"n": 1}, metadata={"k": "v"})
        async with await bus.subscribe(actor_id=actor) as beside, await peer.subscribe(actor_id=actor, handler=lambda _: 1):
            assert await soon(peer.request(sent)) == 1
            assert await read(beside, 1) == [sent]

    async def test_a_prefix_that_does_not_match_answers_nothing(self, bus: EventBus, peer: EventBus, actor: str) -> None:
        """A request that only another prefix's handler could get fails: at once where that can be known, or when time is up."""
        called: list[Event] = []
        async with await bus.subscribe(actor_prefix=f"{actor}-other-", handler=called.append):
            with pytest.raises((NoSubscriberError, DeadlineError)):
                await soon(peer.request(Event(f"{actor}-1", "Asked", 1), 0.3))
        assert called == []
