"""Which actors stay in memory: those in use, and of the idle ones as many as may, for as long as they may."""

from __future__ import annotations

from command_storm import Account

from aether.cluster.actors import Actor
from aether.cluster.residents import Residents


def rested(residents: Residents, actor_id: str, now: float, commands: int = 0) -> None:
    """Use an actor, with so many commands in memory, and rest it."""
    resident, _ = residents.use(actor_id)
    resident.actor = Actor(actor_id, Account(actor_id), 1000)
    resident.actor.commands = dict.fromkeys(map(str, range(commands)), 1)
    residents.rest(resident, now)


def test_the_actor_used_longest_ago_leaves_first():
    """Beyond the bound of idle actors the one used longest ago leaves."""
    residents = Residents(2, 60)
    for now, actor_id in enumerate("abac"):
        rested(residents, actor_id, now)
    assert (len(residents), residents.passivated) == (2, 1)
    assert [residents.use(actor_id)[0].actor is not None for actor_id in "abc"] == [True, False, True]


def test_an_idle_actor_leaves_in_time():
    """An actor leaves when it was idle for so long, no earlier, and the time to look again is told."""
    residents = Residents(100, 60)
    assert residents.expire(5) == 65
    rested(residents, "a", 10)
    rested(residents, "b", 20)
    assert (residents.expire(69.9), len(residents)) == (70, 2)
    assert (residents.expire(70), len(residents)) == (80, 1)
    assert (residents.expire(1000), len(residents)) == (1060, 0)


def test_a_busy_actor_stays():
    """What is in use leaves neither by time nor by number, and counts for no bound."""
    residents = Residents(1, 60)
    rested(residents, "a", 0)
    busy, is_new = residents.use("a")
    assert (is_new, residents.use("a"), residents.busy) == (True, (busy, False), 1)
    rested(residents, "b", 1)
    assert (residents.expire(1000), residents.use("a")[0]) == (1060, busy)


def test_command_ids_are_bounded_over_all_actors():
    """Actors leave when idle ones remember too many commands together; an actor that is not loaded leaves at once."""
    residents = Residents(100, 60, remembered_max=10)
    rested(residents, "a", 0, commands=4)
    rested(residents, "b", 1, commands=6)
    assert len(residents) == 2
    rested(residents, "c", 2, commands=1)
    assert (len(residents), residents.passivated) == (2, 1)
    rested(residents, "c", 3, commands=5)
    assert (len(residents), residents.passivated) == (1, 2)
    resident, _ = residents.use("d")
    residents.rest(resident, 4)
    assert len(residents) == 1
