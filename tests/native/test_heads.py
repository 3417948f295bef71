"""`Head` and `HeadCache`: what a writer remembers, bounded, from many threads."""

from __future__ import annotations

import threading

import pytest

from aether import Event
from aether._native import Commit, Head, HeadCache, encode_commit


def test_head_of_a_new_actor():
    """An actor without commits is at version 0 and sequence 0, and equals any other such head."""
    head = Head()
    assert (head.version, head.sequence) == (0, 0)
    assert head == Head()
    assert head != head.after(1, 5)


def test_the_head_after_a_write_is_the_head_as_it_is_read():
    """What a writer reckons after its own commit equals what anybody reads from that commit."""
    head = Head()
    for number in range(1, 40):
        events = [Event("a", "t", 2 * number - 1), Event("a", "t", 2 * number)]
        body = encode_commit("a", events, head, header_bytes=0, bytes_max=10_000)
        head = head.after(2 * number, 7 * number)
        assert Commit.decode(body).head(7 * number) == head


def test_later_heads_replace_earlier_ones_only():
    """An answer that arrives late does not take the place of a later one; what is forgotten is gone."""
    cache = HeadCache(10)
    cache.put("a", Head().after(5, 50))
    cache.put("a", Head().after(4, 40))
    assert (cache.get("a").version, cache.get("a").sequence) == (5, 50)
    cache.forget("a")
    cache.forget("a")
    assert cache.get("a") is None
    cache.put("a", Head().after(4, 40))
    assert cache.get("a").version == 4


def test_the_least_recently_used_goes_first():
    """Of more actors than it has room for, those used last are kept."""
    cache = HeadCache(3)
    for actor in "abc":
        cache.put(actor, Head())
    assert cache.get("a") is not None
    cache.put("d", Head())
    assert [cache.get(actor) is None for actor in "abcd"] == [False, True, False, False]
    assert len(cache) == 3


@pytest.mark.parametrize("capacity", [1, 10**6, 2**62])
def test_room_is_not_claimed_before_it_is_needed(capacity):
    """A large capacity costs nothing until it is used."""
    cache = HeadCache(capacity)
    cache.put("a", Head())
    assert len(cache) == 1


def test_capacity_has_limits():
    """A cache without room is refused."""
    with pytest.raises(ValueError, match="room for one actor"):
        HeadCache(0)


def test_many_threads(size):
    """Threads that put, get and forget at once leave the cache bounded and every head its actor's own."""
    cache = HeadCache(50)
    rounds = size.pick(3000, 10_000, 200_000)
    wrong: list[object] = []

    def work(seed: int) -> None:
        for number in range(rounds):
            actor = (seed * 31 + number * 7) % 100
            cache.put(str(actor), Head().after(actor, number + 1))
            head = cache.get(str((actor + 1) % 100))
            if head is not None and head.version != (actor + 1) % 100:
                wrong.append(head)
            if number % 10 == 0:
                cache.forget(str(actor))

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert 0 < len(cache) <= 50
