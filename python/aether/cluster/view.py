"""What one node sees of its cluster: members, leader and table, as the watch on the coordination stream tells."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from aether._native import ShardTable, token_decode
from aether.cluster.changes import ClusterChange
from aether.cluster.controller import TableView
from aether.cluster.lease_body import LeaseBody
from aether.cluster.members import Member, Members
from aether.cluster.table import SHARDS
from aether.errors import DecodeError
from aether.nats.subjects import leader_subject, members_prefix, table_subject

if TYPE_CHECKING:
    from collections.abc import Callable

    from aether.cluster.changes import Changes
    from aether.cluster.table import Table
    from aether.nats.coordination import Entry
    from aether.nats.watch import CoordinationWatch

__all__ = ["ClusterView"]

_LOG = logging.getLogger("aether.cluster")


class ClusterView:
    """The live view; a listener of the watch.

    Args:
        watch: the watch.
        namespace: the namespace.
        changes: where it is told what changed.
        on_table: called with each new table and its position.
        on_change: called whenever anything changed.
        clock: the clock of `Members`.

    Attributes:
        members: who is there.
        tables: the last table.
        leader: who leads, as far as this node sees; None: nobody.
        owners: who owns an actor.
        is_behind: the watch began anew with an older table, or none: it lags, or the stream was made anew or fell back, which
            only the stream's leader can tell.
    """

    def __init__(
        self,
        watch: CoordinationWatch,
        namespace: str,
        changes: Changes,
        *,
        on_table: Callable[[Table, int], None],
        on_change: Callable[[], None],
        clock: Callable[[], float],
    ) -> None:
        self._watch, self._changes, self._on_table, self._on_change = watch, changes, on_table, on_change
        self.is_behind = False
        self._members, self._leader, self._table = members_prefix(namespace), leader_subject(namespace), table_subject(namespace)
        self.members = Members(clock)
        self.tables = TableView(self._take_table)
        self.leader: str | None = None
        self.owners = ShardTable([], [-1] * SHARDS)
        self._owners: tuple[str | None, ...] = ()  # by name, as `owners` was made of

    def start(self) -> None:
        """Listen, and take what the watch knows already."""
        self._watch.listen(self)
        if self._watch.unbroken_since is not None:
            for entry in self._watch.entries.values():
                self.on_entry(entry)
            self.on_synced()

    def on_entry(self, entry: Entry) -> None:
        """Take a new entry."""
        if entry.subject.startswith(self._members):
            self._take_member(entry)
        elif entry.subject == self._leader:
            self._take_leader(entry)
        elif entry.subject == self._table and not entry.marker:
            self.tables.see(entry.position, entry.body)

    def on_synced(self) -> None:
        """Take it that the watch's entries are everything there is; each was told of before."""
        entries = self._watch.entries
        there = {name for subject in entries if (name := self._name(subject)) is not None}
        for lost in self.members.keep_only(there & self.members.present.keys()):
            self._tell(ClusterChange(kind="member_left", node=lost.name, reason="it was not there when the watch began anew"))
        self.members.forget_left(there)
        if self._leader not in entries:
            self._set_leader(None)
        table = entries.get(self._table)
        self.is_behind = (0 if table is None or table.marker else table.position) < self.tables.position
        self._rebuild()
        self._tell(ClusterChange(kind="synced"))

    def believe(self, table: Entry | None) -> None:
        """Take it that this is the table, even where it is older than the one that is known: the stream's leader says so."""
        self.is_behind = False
        if table is None or table.marker:
            self.tables.gone()
        else:
            self.tables.see(table.position, table.body, is_last=True)

    def on_broken(self, reason: str) -> None:
        """Take it that what others do is not seen until the next `on_synced`."""
        self._tell(ClusterChange(kind="interrupted", reason=reason))

    def _name(self, subject: str) -> str | None:
        """Return whose lease lies on a subject; None: it is no member's."""
        return token_decode(subject.removeprefix(self._members)) if subject.startswith(self._members) else None

    def _take_member(self, entry: Entry) -> None:
        name = self._name(entry.subject)
        member, left = None, False
        try:
            if not entry.marker:
                member, left = _member(entry, name)
        except DecodeError as error:
            _LOG.error("%s at position %d is no member's lease: %s", entry.subject, entry.position, error)
        if member is None:
            lost = None if name is None else self.members.gone(name, left=left)
            if lost is not None:
                self._rebuild()
                reason = "it left" if left else "its lease expired"
                self._tell(ClusterChange(kind="member_left", node=lost.name, reason=reason))
        else:
            self._see(member)

    def _see(self, member: Member) -> None:
        try:
            before = self.members.see(member)
        except DecodeError as error:
            _LOG.error("a member is not heeded: %s", error)
            return
        if before != member and self.members.present[member.name].member == member:
            self._rebuild()
            self._tell(ClusterChange(kind="member_joined" if before is None else "member_changed", node=member.name))

    def _take_leader(self, entry: Entry) -> None:
        try:
            body = None if entry.marker else LeaseBody.decode(entry.body)
        except DecodeError as error:
            _LOG.error("%s at position %d is no leader's lease: %s", entry.subject, entry.position, error)
            body = None
        self._set_leader(None if body is None or body.free else body.name)

    def _set_leader(self, leader: str | None) -> None:
        if leader != self.leader:
            self.leader = leader
            self._tell(ClusterChange(kind="leader", node=leader))

    def _take_table(self, table: Table, position: int) -> None:
        if table.owners != self._owners:  # many a table only says what is to be let go
            self._rebuild()
        self._on_table(table, position)
        self._tell(ClusterChange(kind="assignment"))

    def _rebuild(self) -> None:
        """Make the native table of who owns what; whoever is away owns nothing that can be asked for."""
        table, present = self.tables.table, self.members.present
        if table is None:
            return
        places = {name: place for place, name in enumerate(sorted(present))}
        owners = [present[name].member for name in places]
        self._owners = table.owners
        self.owners = ShardTable(owners, [-1 if owner is None else places.get(owner, -1) for owner in table.owners])

    def _tell(self, change: ClusterChange) -> None:
        self._changes.put(change)
        self._on_change()


def _member(entry: Entry, name: str | None) -> tuple[Member | None, bool]:
    """Return the member whose lease this is, and whether it has been given back."""
    body = LeaseBody.decode(entry.body)
    if name is None or body.name != name:
        raise DecodeError(-1, f"it tells of {body.name!a}")
    return (None, True) if body.free else (Member.of(name, body.term or entry.position, body.data), False)
