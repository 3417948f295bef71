"""Actors that live on a cluster: each is in the memory of the node that owns its shard, and anybody can ask it."""

from __future__ import annotations

import asyncio
import logging
import uuid
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from aether._native import check_actor_id, decode, encode
from aether.cluster.actor_runner import ActorRunner
from aether.cluster.asking import ASK, Asker
from aether.cluster.commands import FRAME_BYTES_MAX, decode_command, encode_frame
from aether.cluster.ending import end_tasks
from aether.cluster.pulse import Pulse
from aether.cluster.residents import Residents
from aether.errors import AetherError, CommandFailedError, EncodeError
from aether.store.arguments import COUNT_MAX, check_int, check_text, check_timeout_s

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from types import TracebackType

    from aether.cluster.actors import Behaviour
    from aether.cluster.host_node import HostNode
    from aether.event import Snapshot

__all__ = ["ActorHost", "HostStats"]

_LOG = logging.getLogger("aether.cluster")

ACTORS_MAX = 100_000
REMEMBERED = 1_000
REMEMBERED_MAX = 100_000
SNAPSHOT_EVERY = 1_000
IDLE_S = 60.0
SNAPSHOTS_WAITING_MAX = 64
COMMAND_ID_BYTES_MAX = 255

LOOK_S_MIN = 0.01
"""How often idle actors are looked at, at most."""

CLOSE_S = 1.0
"""How long sending the last answers may take in any case, in seconds."""


class HostStats(NamedTuple):
    """What a host has in memory, and what it did.

    Attributes:
        actors: actors in memory.
        waiting: commands that wait or run.
        handled: commands of its actors that were handled for the first time.
        repeated: copies of commands that had been handled, or were being handled.
        failed: commands on which an actor's code raised.
        loads: actors loaded.
        passivated: actors that left memory, for they were idle or too many.
        conflicts: actors loaded again because somebody else had written.
        unknown: writes of which nobody could say whether they were stored.
        snapshots: snapshots saved.
        sent: copies of commands that were sent to other nodes.
    """

    actors: int
    waiting: int
    handled: int
    repeated: int
    failed: int
    loads: int
    passivated: int
    conflicts: int
    unknown: int
    snapshots: int
    sent: int


class ActorHost:
    """Keeps the actors of a node's shards in memory, does their commands, and asks other nodes' actors.

    An actor does one command at a time: its state is loaded once, a command decides on events by it, they are stored, and then
    it is answered. A command id is done once, however often and from wherever it is sent.

    Args:
        node: a node of the cluster, entered; it may have one host.
        factory: makes an actor's behaviour, given its id; see `Behaviour`.
        idle_s: how long an actor stays in memory that nobody asks, in seconds.
        actors_max: how many actors stay in memory that nobody asks at the moment.
        remembered: how many of its last commands each actor remembers, 1 to 100,000. A command that is sent again after so many
            others were done is done again.
        snapshot_every: how many events after the last snapshot the next is taken; None: none are taken, and none are read.
        timeout_s: how long `ask` waits, and closing, in seconds.
    """

    def __init__(
        self,
        node: HostNode,
        factory: Callable[[str], Behaviour],
        *,
        idle_s: float = IDLE_S,
        actors_max: int = ACTORS_MAX,
        remembered: int = REMEMBERED,
        snapshot_every: int | None = SNAPSHOT_EVERY,
        timeout_s: float = 10.0,
    ) -> None:
        if not hasattr(node, "serve"):
            raise TypeError(
                f"a node of a cluster is needed, as ClusterNode.join(url, node_id=...) makes it, not {type(node).__name__}"
            )
        if not callable(factory):
            raise TypeError(
                f"factory is called with an actor's id and makes its behaviour; a {type(factory).__name__} is no function"
            )
        check_timeout_s("timeout_s", timeout_s)
        check_timeout_s("idle_s", idle_s)
        check_int("actors_max", actors_max, 1, COUNT_MAX, "1 to 2**63 - 1")
        check_int("remembered", remembered, 1, REMEMBERED_MAX, f"1 to {REMEMBERED_MAX:,} commands")
        if snapshot_every is not None:
            check_int("snapshot_every", snapshot_every, 1, COUNT_MAX, "1 to 2**63 - 1 events, or None for no snapshots")
        self._node, self._timeout_s = node, timeout_s
        self._moved = Pulse()
        self._residents = Residents(actors_max, idle_s)
        self._snapshots: asyncio.Queue[Snapshot] = asyncio.Queue(SNAPSHOTS_WAITING_MAX)
        self._saved = 0
        self._runner = ActorRunner(
            node,
            factory,
            residents=self._residents,
            remembered_max=remembered,
            moved=self._moved,
            snapshots=None if snapshot_every is None else self._take_snapshot,
            snapshot_every=snapshot_every or 1,
        )
        self._asker = Asker(node, self._runner.run, self._moved)
        self._tasks: list[asyncio.Task[None]] = []
        self._is_open = False
        self._ending = asyncio.Lock()

    def __repr__(self) -> str:
        return f"<ActorHost of {self._node.node_id!a}: {len(self._residents):,} actors in memory>"

    async def __aenter__(self) -> Self:
        if self._tasks:
            raise AetherError("this host was entered already; make another")
        try:
            self._node.serve(ASK, self._serve)
        except AetherError as error:
            raise AetherError(f"the node {self._node.node_id!a} has a host already, and may have one; ask that one") from error
        self._is_open = True
        self._tasks = [self._begin(work, name) for work, name in self._works()]
        return self

    def _works(self) -> list[tuple[Coroutine[Any, Any, None], str]]:
        return [(self._watch(), "watch"), (self._passivate(), "passivate"), (self._save_snapshots(), "snapshots")]

    def _begin(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        task = asyncio.create_task(work, name=f"aether-host-{name}")
        task.add_done_callback(_tell_end)
        return task

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Take no more commands, finish those that wait, and forget the actors; the node stays as it is."""
        async with self._ending:  # whoever calls while another does returns when it has ended
            if self._is_open:
                await self._close()

    async def _close(self) -> None:
        self._is_open = False
        deadline = asyncio.get_running_loop().time() + self._timeout_s
        try:
            await self._runner.aclose(deadline)
        except asyncio.CancelledError:
            deadline = 0.0  # whoever waits no longer waits for the last answers only
            raise
        finally:
            try:
                await self._send_rest(deadline)
            finally:
                await end_tasks(self._tasks)

    async def _send_rest(self, deadline: float) -> None:
        """Let the last answers and snapshots go, and handle nothing more."""
        try:
            async with asyncio.timeout_at(max(deadline, asyncio.get_running_loop().time() + CLOSE_S)):
                await self._node.unserve(ASK)
                await self._snapshots.join()
        except TimeoutError:
            _LOG.warning("the host of %a was closed before all snapshots were saved and all answers sent", self._node.node_id)

    async def ask(self, actor_id: str, command: object, *, command_id: str | None = None, timeout_s: float | None = None) -> Any:  # noqa: ANN401 - whatever the actor replies
        """Have an actor do a command, wherever in the cluster it is, and return its reply.

        Args:
            actor_id: which actor.
            command: what it is to do: anything that event data may hold. Its code sees it as it is decoded.
            command_id: names this command for ever, 1 to 255 UTF-8 bytes; give one to be able to ask again. None: a new one.
            timeout_s: how long to wait, in seconds; None: as long as the host does.

        Raises:
            CommandFailedError: the actor's code raised; nothing was written.
            CommandUnknownError: no answer in time: it may have been done. Asking again with its `command_id` is safe.
            DeadlineError: no answer in time: it was not done, for nobody could be asked.
            EncodeError: the command holds what event data may not, or no message of the server takes it.
            AetherError: the host is not open, or its node was closed.
        """
        if not self._is_open:
            raise AetherError("this host is not open; use it in `async with ActorHost(...) as host`")
        check_actor_id(actor_id)
        if command_id is None:
            command_id = str(uuid.uuid4())
        check_text("command_id", command_id, COMMAND_ID_BYTES_MAX)
        seconds = self._timeout_s if timeout_s is None else timeout_s
        check_timeout_s("timeout_s", seconds)
        payload, most = encode(command), self._node.message_bytes_max - FRAME_BYTES_MAX
        if len(payload) > most:
            raise EncodeError("command", f"{len(payload):,} bytes, and a message of this server takes {most:,}")
        outcome = await self._asker.ask(actor_id, command_id, payload, seconds)
        if outcome.kind == "failed":
            raise CommandFailedError(actor_id, outcome.error, outcome.text)
        return decode(outcome.reply)

    def stats(self) -> HostStats:
        """Say what is in memory, and what was done."""
        done = self._runner.stats
        return HostStats(
            actors=len(self._residents),
            waiting=self._runner.waiting,
            handled=done.handled,
            repeated=done.repeated,
            failed=done.failed,
            loads=done.loads,
            passivated=self._residents.passivated,
            conflicts=done.conflicts,
            unknown=done.unknown,
            snapshots=self._saved,
            sent=self._asker.sent,
        )

    async def _serve(self, body: bytes) -> bytes:
        return encode_frame(await self._runner.run(decode_command(body)))

    async def _watch(self) -> None:
        """Wake those who wait for an actor's owner whenever that may be another."""
        async for _ in self._node.changes():
            self._moved.beat()
            self._asker.look_again()
        self._asker.end()

    async def _passivate(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due = self._residents.expire(loop.time())
            await asyncio.sleep(max(LOOK_S_MIN, due - loop.time()))

    def _take_snapshot(self, snapshot: Snapshot) -> bool:
        try:
            self._snapshots.put_nowait(snapshot)
        except asyncio.QueueFull:
            return False
        return True

    async def _save_snapshots(self) -> None:
        """Save snapshots one after another, beside the commands; one that cannot be saved is no loss."""
        while True:
            snapshot = await self._snapshots.get()
            try:
                await self._node.store.save_snapshot(snapshot)
                self._saved += 1
            except AetherError as error:
                _LOG.warning("the snapshot of %a was not saved: %s", snapshot.actor_id, error)
            finally:
                self._snapshots.task_done()


def _tell_end(task: asyncio.Task[None]) -> None:
    """Log loudly where a task of a host ended that should not have: commands go on, and something beside them does not."""
    if not task.cancelled() and (error := task.exception()) is not None:
        _LOG.error("%s ended, and nothing does its work any more", task.get_name(), exc_info=error)
