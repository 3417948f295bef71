"""At no moment do two candidates hold one lease, whatever befalls clocks, messages, processes and the server."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from lease_simulation import TTL_S, OverlapError, World

from aether.cluster.lease import Lease
from aether.cluster.lease_words import What

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Size

DEATHS_A_RUN = 500
PLANTED_RUNS_MAX = 20


def lease(session: str, jitter: Callable[[], float]) -> Lease:
    """Make the lease as it is."""
    return Lease(session, TTL_S, jitter)


def without_margin(session: str, jitter: Callable[[], float]) -> Lease:
    """Make a lease that gives nothing away for clocks that run slow."""
    return Lease(session, TTL_S, jitter, margin_s=0)


class CountsFromTheAnswer(Lease):
    """Counts its time from when the answer came, not from before the request went out."""

    def acked(self, now: float, position: int) -> None:
        """Take it that the write is stored."""
        if self._flight is not None:
            self._sent[self._flight.beat] = now
        super().acked(now, position)


class TakesSilenceForSuccess(Lease):
    """Takes it that a renewal that is not answered went well."""

    def unanswered(self, now: float) -> None:
        """Take it that nobody knows what became of a write."""
        if self.term and self._flight is not None and self._flight.what is What.RENEW:
            self.deadline = now + self._life_s
        super().unanswered(now)


class RemembersInsteadOfLooking(Lease):
    """Believes that it holds the lease until somebody says that it does not."""

    def is_valid(self, now: float) -> bool:
        """Say whether it is held."""
        return self.term != 0


class BidsOverTheLiving(Lease):
    """Bids under the guard of a lease that another session holds."""

    def _may_bid(self, record: object, now: float) -> bool:
        return True


PLANTED: dict[str, Callable[[str, Callable[[], float]], Lease]] = {
    "without margin": without_margin,
    "counts from the answer": lambda session, jitter: CountsFromTheAnswer(session, TTL_S, jitter),
    "takes silence for success": lambda session, jitter: TakesSilenceForSuccess(session, TTL_S, jitter),
    "remembers instead of looking": lambda session, jitter: RemembersInsteadOfLooking(session, TTL_S, jitter),
    "bids over the living": lambda session, jitter: BidsOverTheLiving(session, TTL_S, jitter),
}


def overlap(make_lease: Callable[[str, Callable[[], float]], Lease], *, guarded: bool = True) -> str:
    """Return the first overlap that some runs find; "" where they find none."""
    for seed in range(PLANTED_RUNS_MAX):
        try:
            World(seed, make_lease, guarded=guarded).run(DEATHS_A_RUN)
        except OverlapError as error:
            return f"seed {seed}: {error}"
    return ""


def test_no_two_hold_it(size: Size, record_property: Callable[[str, object], None]) -> None:
    """Over thousands of holders that die, stand still or let go, no two hold the lease at one moment, and it never gets stuck."""
    deaths = size.pick(5_000, 100_000, 1_000_000)
    terms = outages = 0
    for seed in range(deaths // DEATHS_A_RUN):
        world = World(seed, lease)
        try:
            world.run(DEATHS_A_RUN)
        except AssertionError as error:
            pytest.fail(f"World({seed}).run({DEATHS_A_RUN}) makes it again: {error}")
        terms, outages = terms + world.terms, outages + world.outages
    record_property("deaths, terms, outages", (deaths, terms, outages))
    assert terms > deaths


@pytest.mark.parametrize("bug", PLANTED)
def test_a_planted_bug_is_found(bug: str) -> None:
    """A lease without its margin, its before-send time, its doubt, its look at the clock or its patience is found to overlap."""
    assert overlap(PLANTED[bug])


def test_a_server_without_guards_is_found() -> None:
    """A server that takes every write makes two hold the lease, and that is found."""
    assert overlap(lease, guarded=False)
