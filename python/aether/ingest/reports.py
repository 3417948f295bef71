"""What an import tells: where it stands, and which lines are not stored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

__all__ = ["Fault", "ImportReport"]


class Fault(NamedTuple):
    """A line that was not stored.

    Attributes:
        kind: "bad": it is no record; "conflict": something else is where it belongs; "failed": the store does not take it.
        line: its number, from 1.
        reason: what is wrong.
    """

    kind: Literal["bad", "conflict", "failed"]
    line: int
    reason: str


@dataclass
class ImportReport:
    """Where an import stands, and at the end what it did.

    Attributes:
        lines: lines read, blank ones included.
        read: records read.
        saved: events stored; in a dry run, those that would be.
        already_there: events that the store had, or that the input has twice.
        conflicts: records that something else in the store stands against.
        failed: records that are not stored, or may not be, because the store failed or the import was stopped.
        bad: lines that are no records.
        commits: commits that were acknowledged at once.
        settled_line: every line up to this one is stored, already there, or reported.
        seconds: how long it took.
        stopped: why it ended before the input did, or None.
    """

    lines: int = 0
    read: int = 0
    saved: int = 0
    already_there: int = 0
    conflicts: int = 0
    failed: int = 0
    bad: int = 0
    commits: int = 0
    settled_line: int = 0
    seconds: float = 0.0
    stopped: Literal["bad line", "interrupted", "failed"] | None = None
