"""Handlers: called for each event of a subscription, an actor's in order, whatever they raise.

A sync handler is called for one event after another. An async one runs for several actors at once: events are staged by
actor, and workers take the actors in turn, one event a turn, so that a busy actor delays no other. What is staged is bounded;
all else waits in the mailbox, under the subscription's own bounds.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import logging
from collections import deque
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from aether.bus.requests import answer_body, failure_body
from aether.errors import AetherError, ServerRefusedError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from aether.bus.base import Reply
    from aether.bus.intake import Intake
    from aether.event import Event

__all__ = ["Handling", "forget_caller", "is_async"]

_LOG = logging.getLogger("aether.bus")

STAGED_MAX = 1_024
"""Events taken out of the mailbox for an async handler, running ones not counted. An actor with more than these waiting holds
the others up."""

ANSWERED_MAX = 1_024
"""How many answers are remembered by where they went: that a server refused one it tells later."""

_CALLING: ContextVar[Handling | None] = ContextVar("aether.bus.handling", default=None)
"""Whose handler it is that runs: a handler that closes its own subscription must not wait for itself."""

CANCEL_S = 1.0
"""How long a handler that was cancelled may take to end, in seconds."""

TAKE_MAX = 256
"""Events taken out of the mailbox at once."""


def is_async(handler: Callable[..., Any]) -> bool:
    """Say whether a handler is a coroutine function, or an object that is called like one."""
    plain = functools.partial(handler).func  # a partial of partials is one of the innermost
    return inspect.iscoroutinefunction(plain) or inspect.iscoroutinefunction(getattr(plain, "__call__", None))  # noqa: B004


def forget_caller() -> None:
    """Let this task wait for handlers, though one of them began it."""
    _CALLING.set(None)


class Handling:
    """What calls one subscription's handler.

    Args:
        intake: where the events come in; its options name the handler.
        reply: sends an answer.

    Attributes:
        staged: events taken out of the mailbox that no handler has got yet.
        failed: events on which the handler raised, or was cancelled, or whose answer the server refused.
    """

    def __init__(self, intake: Intake, reply: Reply) -> None:
        handler = intake.options.handler
        if handler is None:
            raise TypeError("there is no handler to call")
        self._intake, self._handler, self._reply = intake, handler, reply
        self._on_error = intake.options.on_error
        self._staged_max = max(STAGED_MAX, intake.options.concurrency)
        self.staged = self.failed = 0
        self._queues: dict[str, deque[tuple[Event, str | None]]] = {}
        self._turns: deque[str] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._driver: asyncio.Task[None] | None = None
        self._stubborn: set[asyncio.Task[None]] = set()
        self._answered: deque[str] = deque(maxlen=ANSWERED_MAX)
        self._workers = 0
        self._room = asyncio.Event()
        # What a worker met instead of events, for the driver to tell; while it tells something, nobody takes what is behind it.
        self._met: AetherError | None = None
        self._is_telling = False

    def begin(self) -> None:
        """Call the handler for what comes from now on."""
        work = self._drive_by_actor() if is_async(self._handler) else self._drive_in_order()
        self._driver = self._spawn(work, "aether-bus-handling")

    def is_called_from_here(self) -> bool:
        """Say whether this is called by the handler, also through tasks or threads of its own."""
        return _CALLING.get() is self

    async def finish(self, timeout_s: float) -> int:
        """Wait for what runs; cancel what has not finished in time, and log that. Return how many events were left then.

        A handler that goes on although it was cancelled is waited for `CANCEL_S` more, and then left to itself.
        """
        left = 0
        self._room.set()
        give_up_at = asyncio.get_running_loop().time() + timeout_s
        while running := self._tasks - self._stubborn:
            _, late = await asyncio.wait(running, timeout=max(0.0, give_up_at - asyncio.get_running_loop().time()))
            if late:
                # The driver has no event of its own, where workers have them.
                left = self._intake.mailbox.pending + self.staged + len(late - ({self._driver} if self._workers else set()))
                self._intake.close()
                text = "%s was closed: %d of its tasks had not finished within %.3g s, and were cancelled"
                _LOG.warning(text, self._intake.options, len(late), timeout_s)
                await self._cancel(late)
        return left

    async def _cancel(self, late: set[asyncio.Task[None]]) -> None:
        for task in late:
            task.cancel()
        _, stubborn = await asyncio.wait(late, timeout=CANCEL_S)
        if stubborn:
            self._stubborn |= stubborn
            text = "%s was closed, but %d of its handlers go on though they were cancelled %g s ago; nobody waits for them"
            _LOG.error(text, self._intake.options, len(stubborn), CANCEL_S)

    def _spawn(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._stubborn.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._stop(error if isinstance(error, Exception) else AetherError(f"a handler raised {error!r}"))

    def _stop(self, error: Exception) -> None:
        """End the subscription: no further event is handled."""
        self._intake.fail(error)
        self._intake.close()
        self._room.set()

    # Taking events out.

    async def _take(self, limit: int) -> list[tuple[Event, str | None]]:
        """Return what comes next; nothing at the end. What stands in the way goes to `on_error`."""
        while True:
            taken: list[tuple[Event, str | None]] = []
            try:
                # What a worker met stands before what is there now.
                taken = self._take_now(limit) if self._met is None else []
            except AetherError as error:
                self._met = error
            if self._met is not None:
                self._is_telling = True
                met, self._met = self._met, None
                await self._complain(met, None)
                self._is_telling = False
                continue
            if taken:
                return taken
            if not await self._intake.wait():
                if self._intake.failure is not None and not self._intake.is_closed:
                    await self._complain(self._intake.failure, None)
                return []

    def _take_now(self, limit: int) -> list[tuple[Event, str | None]]:
        taken = [] if self._intake.is_closed else self._intake.mailbox.take_requests(limit)
        if taken:
            self._intake.tell_room()
        return taken

    # One after another.

    async def _drive_in_order(self) -> None:
        _CALLING.set(self)
        while taken := await self._take(TAKE_MAX):
            self.staged = len(taken)
            for event, reply in taken:
                if self._intake.is_closed:
                    return
                self.staged -= 1
                await self._handle(event, reply)
                if self._intake.turn.is_over():
                    await asyncio.sleep(0)

    # Several actors at once.

    async def _drive_by_actor(self) -> None:
        while taken := await self._take(min(TAKE_MAX, self._staged_max - self.staged)):
            self._stage(taken)
            while self.staged >= self._staged_max and not self._intake.is_closed:
                self._room.clear()
                await self._room.wait()

    def _stage(self, taken: list[tuple[Event, str | None]]) -> None:
        """Let each event wait behind those of its actor, and have workers take them up."""
        self.staged += len(taken)
        for event, reply in taken:
            queue = self._queues.get(event.actor_id)
            if queue is None:
                queue = self._queues[event.actor_id] = deque()
                self._turns.append(event.actor_id)
            queue.append((event, reply))
        for _ in range(min(self._intake.options.concurrency - self._workers, len(self._turns))):
            self._workers += 1
            self._spawn(self._work(), "aether-bus-handler")

    def _restage(self) -> bool:
        """Stage what has come already, so that handlers that wait for nothing need not wait for the driver's turn."""
        if self._is_telling or self._met is not None or self.staged >= self._staged_max:
            return False
        try:
            taken = self._take_now(min(TAKE_MAX, self._staged_max - self.staged))
        except AetherError as error:
            self._met = error
            self._room.set()
            self._intake.wake()
            return False
        self._stage(taken)
        return bool(self._turns)  # of all that came the actors may be busy

    async def _work(self) -> None:
        _CALLING.set(self)
        try:
            while not self._intake.is_closed and (self._turns or self._restage()):
                actor_id = self._turns.popleft()
                queue = self._queues[actor_id]
                event, reply = queue.popleft()
                self.staged -= 1
                self._room.set()
                await self._handle(event, reply)
                # An actor that has a queue has no second turn, so what comes for it meanwhile waits.
                if queue:
                    self._turns.append(actor_id)
                else:
                    del self._queues[actor_id]
                if self._intake.turn.is_over():
                    await asyncio.sleep(0)
        finally:
            self._workers -= 1

    # One event.

    async def _handle(self, event: Event, reply: str | None) -> None:
        try:
            result = self._handler(event)
            if result is not None and inspect.isawaitable(result):
                result = await result
            body = None if reply is None else answer_body(result)
        except asyncio.CancelledError as error:
            self.failed += 1
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            inner = AetherError("the handler raised CancelledError: what it waited for was cancelled")
            inner.__cause__ = error
            await self._failed(inner, event, reply)
        except Exception as error:  # noqa: BLE001 - the handler is the user's, and so is the policy
            self.failed += 1
            await self._failed(error, event, reply)
        else:
            if reply is not None and body is not None:
                await self._answer(event, reply, body)

    async def _failed(self, error: Exception, event: Event, reply: str | None) -> None:
        if reply is not None:
            try:
                await self._reply(reply, failure_body(error))
            except AetherError as unsent:
                self._note_unsent(unsent)
        await self._complain(error, event)

    async def _answer(self, event: Event, reply: str, body: bytes) -> None:
        try:
            self._answered.append(reply.lower())
            await self._reply(reply, body)
        except ServerRefusedError as error:  # it is too large, so whoever asked is told that instead
            self.failed += 1
            await self._failed(error, event, reply)
        except AetherError as error:
            self._note_unsent(error)

    def _note_unsent(self, error: AetherError) -> None:
        _LOG.warning("%s: an answer could not be sent: %s", self._intake.options, error)

    def note_unsent(self, reply: str, error: Exception) -> bool:
        """Take it that the server refused an answer after it was sent; say whether it was one of these."""
        if reply not in self._answered:
            return False
        self._answered.remove(reply)
        self.failed += 1
        _LOG.warning("%s: an answer was not sent: %s", self._intake.options, error)
        return True

    async def _complain(self, error: Exception, event: Event | None) -> None:
        """Do with an error what the subscription's `on_error` says."""
        if callable(self._on_error):
            try:
                result = self._on_error(error, event)
                if inspect.isawaitable(result):
                    await result
            except Exception as raised:  # noqa: BLE001 - the user's function says by raising that this is the end
                _LOG.error("%s ends: its on_error raised", self._intake.options, exc_info=raised)
                self._stop(raised)
            return
        if event is None:
            _LOG.warning("%s: %s", self._intake.options, error)
        else:
            what = (event.event_type, event.version, event.actor_id)
            _LOG.error("%s: its handler raised on %a %d of %a", self._intake.options, *what, exc_info=error)
        if self._on_error == "stop":
            self._stop(error)
