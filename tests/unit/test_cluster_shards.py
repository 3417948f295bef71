"""One node's shards over a store in memory: what is taken, let go, waited for, and told, in which order."""

from __future__ import annotations

import asyncio

import pytest
from shard_setting import Setting

import aether.cluster.shards
from aether.cluster.progress import Progress
from aether.cluster.shards import TAKES_MAX
from aether.errors import DeadlineError, NotOwnerError, ShardUnavailableError


async def test_takes_what_the_table_gives():
    """Each shard of this node is taken, at most so many at a time, its hook is called, and then it takes writes."""
    at = Setting()
    at.shards.joined(7)
    at.follow(range(500))
    await at.settled()
    assert at.shards.open.keys() == at.store.open == set(range(500))
    assert {call[:2] for call in at.calls} == {("acquire", shard) for shard in range(500)}
    assert at.store.taking_most == TAKES_MAX
    assert set(at.store.incarnations) == {7}


async def test_shards_that_somebody_would_write_to_are_taken_first():
    """Of many shards that come at once those are taken before all others that a writer asks for, then or before."""
    at = Setting()
    before, then = {960, 970}, {980, 990}
    at.follow([])
    for shard in before:
        with pytest.raises(NotOwnerError):
            await at.shards.gate(shard, at.soon())
    at.shards.joined(1)
    at.follow(range(1000))
    await at.until(lambda: at.store.taken)  # the first have had their turn
    for shard in then:
        at.shards.hurry(shard)
    await at.settled()
    taken = [shard for _, shard, _ in at.calls]
    assert set(taken[:2]) == before
    assert max(taken.index(shard) for shard in then) < 3 * TAKES_MAX


async def test_nothing_is_taken_without_membership():
    """A table gives nothing to a node that is no member (yet)."""
    at = Setting()
    at.follow([1, 2])
    await asyncio.sleep(0)
    assert at.shards.is_settled()
    assert not at.store.incarnations
    at.shards.joined(1)
    await at.settled()
    assert at.shards.open.keys() == {1, 2}


async def test_lets_go_in_order_and_tells():
    """A shard that moves takes no more writes, ends the one in flight, has its hook called, and only then counts as let go."""
    at = Setting()
    at.shards.joined(1)
    at.follow([1, 2])
    await at.settled()
    at.store.in_flight[1] = asyncio.Event()
    at.follow([1, 2], {1: "b"})
    await at.until(lambda: 1 not in at.shards.open)
    assert at.shards.progress() is None
    assert ("release", 1) not in at.calls
    at.store.in_flight[1].set()
    await at.until(at.shards.progress)
    assert at.shards.progress() == Progress("a", 2, [1], [])
    assert ("release", 1) in at.calls
    at.follow([2])
    assert at.shards.progress() is None


async def test_tells_what_was_moved_here_and_is_taken():
    """Of a shard that was moved to this node the leader is told once it takes writes, until it has heard; of others not."""
    at = Setting()
    at.shards.joined(1)
    at.follow([1], {5: "a"})
    await at.settled()
    assert at.shards.progress() is None
    at.slow = asyncio.Event()
    at.follow([1, 2, 5])
    await at.until(lambda: 5 in at.store.taken)
    assert at.shards.progress() is None
    at.slow.set()
    await at.settled()
    assert at.shards.progress() == Progress("a", 2, [], [5])
    at.shards.told([5])
    assert at.shards.progress() is None


async def test_writers_wait_while_a_shard_moves():
    """Who writes to a shard on its way waits, and then goes on, or is told the new owner."""
    at = Setting()
    at.shards.joined(1)
    at.follow([1, 2, 3])
    await at.settled()
    await at.shards.gate(1, at.soon())
    at.follow([1, 2, 3], {1: "c", 2: "c"})
    gone, kept = (asyncio.create_task(at.shards.gate(shard, at.soon())) for shard in (1, 2))
    await at.until(lambda: at.shards.progress() == Progress("a", 2, [1, 2], []))
    assert not gone.done()
    assert not kept.done()
    at.follow([2, 3], others="c")
    with pytest.raises(NotOwnerError) as caught:
        await gone
    assert (caught.value.shard, caught.value.owner) == (1, "c")
    await kept  # it was given back, and taken anew
    assert at.store.epoch_of(2) == 4


async def test_writers_wait_for_a_shard_to_come():
    """Who writes to a shard that is to come waits for it, until his deadline, and nobody waits for another node's."""
    at = Setting()
    at.shards.joined(1)
    at.slow = asyncio.Event()
    at.follow([1], {5: "a"})
    coming = asyncio.create_task(at.shards.gate(5, at.soon()))
    with pytest.raises(NotOwnerError) as caught:
        await at.shards.gate(9, at.soon())
    assert caught.value.owner == "b"
    with pytest.raises(ShardUnavailableError, match="shard 1 took no writes"):
        await at.shards.gate(1, at.soon(0.05))
    at.follow([1, 5])
    at.slow.set()
    await coming


async def test_membership_lost_closes_everything_at_once():
    """When the membership is lost no write is let through any more, the hooks are called, and a new life takes anew."""
    at = Setting()
    at.shards.joined(1)
    at.follow(range(100))
    await at.settled()
    at.shards.parted()
    assert not at.shards.open
    assert not at.store.open
    await at.until(lambda: len(at.calls) == 200)
    at.shards.joined(2)
    await at.settled()
    assert len(at.store.open) == 100
    assert at.store.incarnations[-100:] == [2] * 100
    for shard in range(100):
        assert [call[0] for call in at.calls if call[1] == shard] == ["acquire", "release", "acquire"]


async def test_take_of_an_earlier_life_is_not_used():
    """A shard that was taken by a life that is over meanwhile is taken again by the new one before it takes writes."""
    at = Setting()
    at.shards.joined(1)
    at.follow([1])
    await asyncio.sleep(0)  # the take is on its way
    at.shards.parted()
    at.shards.joined(2)
    await at.settled()
    assert at.store.incarnations == [1, 2]
    assert at.calls == [("acquire", 1, 2)]


async def test_failing_hooks_are_told_and_stop_nothing():
    """A hook that raises or hangs is told of, and its shard takes writes and is let go all the same."""
    at = Setting(drain_s=0.05)
    at.shards.joined(1)
    at.fail = True
    at.follow([1])
    await at.settled()
    at.slow = asyncio.Event()
    at.follow([1, 2])
    await at.settled()
    kinds = []
    for _ in range(4):
        change = await anext(at.feed)
        kinds.append((change.kind, change.shard, change.reason))
    assert kinds == [
        ("hook_failed", 1, 'on_acquire: RuntimeError("the user\'s own")'),
        ("acquired", 1, ""),
        ("hook_failed", 2, "on_acquire: took longer than 0.05 s"),
        ("acquired", 2, ""),
    ]
    at.follow([])
    await at.settled()
    assert not at.store.open


async def test_hook_that_was_cancelled_itself_has_failed():
    """A hook whose own work was cancelled has failed as any other, and its shard goes on; the node's end still ends it."""
    at = Setting()

    async def cancelled(shard: int, epoch: int) -> None:
        work = asyncio.ensure_future(asyncio.sleep(3600))
        work.cancel()
        await work

    at.shards._hooks._on_acquire = cancelled
    at.shards.joined(1)
    at.follow([1])
    await at.settled()
    assert at.shards.open.keys() == {1}
    assert [(await anext(at.feed)).kind for _ in range(2)] == ["hook_failed", "acquired"]


async def test_hooks_of_one_shard_run_in_order():
    """A shard that is lost while its hook still runs has its release told after that, and before it is acquired again."""
    at = Setting()
    at.shards.joined(1)
    at.slow = asyncio.Event()
    at.follow([1])
    await at.until(lambda: at.calls)
    at.shards.parted()
    at.shards.joined(2)
    await asyncio.sleep(0.01)
    assert at.calls == [("acquire", 1, 1)]
    at.slow.set()
    await at.settled()
    assert [call[0] for call in at.calls] == ["acquire", "release", "acquire"]


async def test_failed_takes_are_told_and_tried_again():
    """A shard that cannot be taken is told of once, and taken as soon as that goes."""
    at = Setting()
    at.store.refuse = 3
    at.shards.joined(1)
    at.follow([1])
    await at.settled()
    assert [(await anext(at.feed)).kind for _ in range(2)] == ["shard_failed", "acquired"]


async def test_deposed_shard_is_taken_again_while_the_table_says_so():
    """A shard whose fence turns out to be closed is told as released, and is taken again if the table still gives it."""
    at = Setting()
    at.shards.joined(1)
    at.follow([1])
    await at.settled()
    at.store.close_shard(1)  # as a fence does that meets another's epoch
    waiting = asyncio.create_task(at.shards.gate(1, at.soon()))
    await at.until(lambda: ("release", 1) in at.calls)
    await waiting
    assert at.store.epoch_of(1) == 2


async def test_nothing_is_taken_by_a_table_that_may_be_old(monkeypatch):
    """A node that does not see the cluster takes nothing from whoever took it meanwhile, and takes again when it sees."""
    monkeypatch.setattr(aether.cluster.shards, "RETAKE_S", 0.01)
    at = Setting()
    at.shards.joined(1)
    at.follow([1])
    await at.settled()
    at.sees = False
    at.store.close_shard(1)  # as a fence does that meets another's epoch
    waiting = asyncio.create_task(at.shards.gate(1, at.soon()))
    await at.until(lambda: ("release", 1) in at.calls)
    with pytest.raises(DeadlineError, match="sees the cluster again"):
        await at.shards.gate(1, at.soon(0.2))
    assert at.store.epochs == 1
    at.sees = True
    at.shards.look()
    await waiting
    assert at.store.epoch_of(1) == 2


async def test_who_waits_is_told_that_the_lease_has_ended():
    """A writer that waits on a node whose own lease has ended is told so."""
    at = Setting()
    at.shards.joined(1)
    at.follow([1])
    await at.settled()
    at.valid = False
    at.shards.parted()
    with pytest.raises(DeadlineError, match="this node, whose lease has ended"):
        await at.shards.gate(1, at.soon(0.05))


async def test_hook_that_takes_no_cancellation_does_not_hold_up_the_end():
    """A hook that swallows a cancellation is cancelled again, so the end comes soon after its deadline."""
    at = Setting(drain_s=60.0)
    swallowed = 0

    async def stubborn(shard: int, epoch: int) -> None:
        nonlocal swallowed
        while swallowed < 3:
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                swallowed += 1

    at.shards._hooks._on_acquire = stubborn
    at.shards.joined(1)
    at.follow([1])
    await at.until(lambda: at.store.taken)
    await asyncio.wait_for(at.shards.aclose(at.soon(0.1)), 30)
    assert swallowed == 3


async def test_end_is_in_order_and_bounded():
    """The end lets everything go, in order as long as the deadline allows, and leaves no task."""
    at = Setting()
    at.shards.joined(1)
    at.follow(range(100))
    await at.settled()
    at.store.in_flight[7] = asyncio.Event()
    await asyncio.wait_for(at.shards.aclose(at.soon(0.2)), 30)  # and not as long as the one in flight
    assert not at.store.open
    assert len([call for call in at.calls if call[0] == "release"]) == 100
    with pytest.raises(NotOwnerError):
        await at.shards.gate(1, at.soon())
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == {asyncio.current_task()}
