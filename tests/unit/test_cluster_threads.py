"""What blocking callers ask of a node in threads of their own, while its event loop goes on in another."""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING

import pytest

from aether.cluster.changes import Changes, ClusterChange
from aether.cluster.members import Member, Members

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TURNS = 20_000


@pytest.fixture(autouse=True)
def often() -> Iterator[None]:
    """Threads take turns as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def beside(asks: Callable[[], object], goes_on: Callable[[int], None]) -> None:
    """Ask in another thread for as long as this one goes on; raise what either did."""
    over, errors = threading.Event(), []

    def ask() -> None:
        try:
            while not over.is_set():
                asks()
        except Exception as error:  # noqa: BLE001 - raised below
            errors.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        for turn in range(TURNS):
            goes_on(turn)
    finally:
        over.set()
        thread.join()
    if errors:
        raise errors[0]


def test_members_are_read_while_they_change():
    """Who is there can be asked for at any time, also while nodes come and go."""
    members = Members(lambda: 0.0)
    for number in range(100):
        members.see(Member(name=f"n-{number}", incarnation=1))

    def change(turn: int) -> None:
        members.see(Member(name="comes", incarnation=turn + 1))
        members.gone("comes", left=False)

    beside(members.by_name, change)


def test_feeds_are_made_while_changes_are_told():
    """Whoever asks for changes in another thread does not break the telling, on which a node's work hangs."""
    changes, kept = Changes(), []

    def make() -> None:
        kept.append(changes.feed())
        del kept[:-100]

    beside(make, lambda _: changes.put(ClusterChange(kind="synced")))
