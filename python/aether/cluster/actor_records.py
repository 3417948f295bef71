"""What a host reads of an actor, and what it gives to be saved beside its events: loading it, old answers, snapshots."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from aether.cluster.actors import OF_ITS_CODE, Actor, RefusedError, UnfitSnapshotError, reply_of
from aether.cluster.commands import Command, Outcome
from aether.errors import AetherError

if TYPE_CHECKING:
    from collections.abc import Callable

    from aether.cluster.actors import Behaviour
    from aether.cluster.host_node import NodeStore
    from aether.cluster.residents import Resident
    from aether.event import Snapshot

__all__ = ["ActorRecords"]

_LOG = logging.getLogger("aether.cluster")


class ActorRecords:
    """The actors of a store, as a host keeps them.

    Args:
        store: the store.
        factory: makes an actor's behaviour.
        remembered_max: how many of its last commands each remembers.
        snapshots: takes snapshots; says whether it took this one. None: none are made, and none are read.
        snapshot_every: how many events after the last snapshot the next is taken.
    """

    def __init__(
        self,
        store: NodeStore,
        factory: Callable[[str], Behaviour],
        *,
        remembered_max: int,
        snapshots: Callable[[Snapshot], bool] | None,
        snapshot_every: int,
    ) -> None:
        self._store, self._factory, self._remembered_max = store, factory, remembered_max
        self._snapshots, self._snapshot_every = snapshots, snapshot_every

    async def load(self, resident: Resident, epoch: int) -> Actor:
        """Load an actor: from its snapshot, if there is one that fits, and the events behind it.

        Raises:
            RefusedError: its code raised.
            AetherError: it cannot be read.
        """
        resident.actor = None
        actor_id, store = resident.actor_id, self._store
        try:
            behaviour = self._factory(actor_id)
            actor = Actor(actor_id, behaviour, self._remembered_max)
        except OF_ITS_CODE as error:
            raise RefusedError(error) from error
        snapshot = None if self._snapshots is None else await store.get_latest_snapshot(actor_id)
        if snapshot is not None:
            try:
                actor.restore(snapshot)
            except UnfitSnapshotError as error:
                _LOG.warning("the snapshot of %a at version %d is not used: %s", actor_id, snapshot.version, error)
        resident.snapshot_at = actor.version
        async for events in store.read_events(actor_id, actor.version + 1):
            actor.fold(events)
        resident.actor, resident.epoch = actor, epoch
        return actor

    async def answered(self, command: Command, version: int) -> Outcome:
        """Answer a command that was done before, as it was answered then.

        Raises:
            AetherError: its event is not there any more, or cannot be read.
        """
        events = await self._store.get_events(command.actor_id, version, limit=1)
        if not events or events[0].command_id != command.command_id:
            raise AetherError(f"{command.actor_id!a} has no event {version} of the command {command.command_id!a} any more")
        return Outcome("replied", reply=reply_of(events[0]))

    def take_snapshot(self, resident: Resident, actor: Actor) -> None:
        """Give a snapshot to be saved, where one is due; that there is none is told, and raised to nobody.

        The events are stored by now, so whatever went wrong here must not be taken for what became of the command.
        """
        if self._snapshots is None or actor.version - resident.snapshot_at < self._snapshot_every:
            return
        resident.snapshot_at = actor.version  # taken or not, the next is tried as many events later
        try:
            snapshot = actor.snapshot()
        except RefusedError as error:
            _LOG.warning("no snapshot of %a: its code raised %r", actor.actor_id, error.error)
            return
        except Exception:  # noqa: BLE001 - see above
            _LOG.exception("no snapshot of %a: an error that nobody expected", actor.actor_id)
            return
        if snapshot is not None and not self._snapshots(snapshot):
            _LOG.info("no snapshot of %a at version %d: too many wait to be saved", actor.actor_id, actor.version)
