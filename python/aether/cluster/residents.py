"""Which actors are in memory, and which of them leave it. Pure: times are given.

Only an actor that nobody uses may leave, so busy ones are not in the order of leaving at all. It goes by last use, so the one
to look at is always the first.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aether.cluster.actors import Actor

__all__ = ["REMEMBERED_TOTAL_MAX", "Resident", "Residents"]

REMEMBERED_TOTAL_MAX = 2_000_000
"""How many command ids idle actors hold together, about 200 bytes each; beyond that the one used longest ago leaves."""


class Resident:
    """An actor's place in memory, while it is used or remembered.

    Attributes:
        actor: the actor; None: it has to be loaded first.
        epoch: the shard's epoch under which it was loaded. Under another one somebody else may have written.
        waiting: commands that wait for it, in order.
        used_at: when it was used last, in seconds.
        snapshot_at: the version of the last snapshot that was taken or found.
    """

    __slots__ = ("actor", "actor_id", "epoch", "snapshot_at", "used_at", "waiting")

    def __init__(self, actor_id: str) -> None:
        self.actor_id = actor_id
        self.actor: Actor | None = None
        self.epoch = 0
        self.waiting: deque[Any] = deque()
        self.used_at = 0.0
        self.snapshot_at = 0

    @property
    def weight(self) -> int:
        """How many command ids it holds."""
        return 0 if self.actor is None else len(self.actor.commands)


class Residents:
    """The actors in memory.

    Args:
        actors_max: how many idle ones there may be.
        idle_s: how long one stays that nobody uses, in seconds.
        remembered_max: how many command ids idle ones may hold together.

    Attributes:
        passivated: how many have left.
    """

    def __init__(self, actors_max: int, idle_s: float, remembered_max: int = REMEMBERED_TOTAL_MAX) -> None:
        self._actors_max, self._idle_s, self._remembered_max = actors_max, idle_s, remembered_max
        self._busy: dict[str, Resident] = {}
        self._idle: OrderedDict[str, Resident] = OrderedDict()
        self._remembered = 0
        self.passivated = 0

    def __len__(self) -> int:
        return len(self._busy) + len(self._idle)

    @property
    def busy(self) -> int:
        """How many are in use."""
        return len(self._busy)

    def use(self, actor_id: str) -> tuple[Resident, bool]:
        """Return an actor's place, and whether it has only now become busy."""
        resident = self._busy.get(actor_id)
        if resident is not None:
            return resident, False
        resident = self._idle.pop(actor_id, None)
        if resident is None:
            resident = Resident(actor_id)
        else:
            self._remembered -= resident.weight
        self._busy[actor_id] = resident
        return resident, True

    def rest(self, resident: Resident, now: float) -> None:
        """Take it that nobody uses the actor any more; one that is not loaded leaves, and so do those beyond the bounds."""
        del self._busy[resident.actor_id]
        if resident.actor is None:
            return
        resident.used_at = now
        self._idle[resident.actor_id] = resident
        self._remembered += resident.weight
        while len(self._idle) > self._actors_max or self._remembered > self._remembered_max:
            self._passivate()

    def expire(self, now: float) -> float:
        """Let those leave that were idle for too long; return when to look again."""
        while self._idle:
            due = next(iter(self._idle.values())).used_at + self._idle_s
            if due > now:
                return due
            self._passivate()
        return now + self._idle_s

    def _passivate(self) -> None:
        _, resident = self._idle.popitem(last=False)
        self._remembered -= resident.weight
        self.passivated += 1
