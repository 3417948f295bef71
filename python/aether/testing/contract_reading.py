"""The store contract: `get_events`, `read_events` and `get_latest_version`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from aether.event import NewEvent
from aether.testing.contract_base import StoreCase, drafts, drain, events

if TYPE_CHECKING:
    from aether.event import Event
    from aether.testing.contract_base import StoreUnderTest

__all__ = ["ReadingContract"]

VERSIONS_MAX = 2**64 - 1


async def stored_history(store: StoreUnderTest, actor: str) -> list[Event]:
    """Store commits of many sizes with gaps between and within them, and return all events."""
    history, version = [], 0
    for size in (1, 3, 1, 1, 7, 2, 1, 20, 1, 5, 1, 1, 1, 4):
        commit = events(actor, *range(version + 1 + size % 2, version + 1 + size % 2 + 2 * size, 2))
        await store.save_events(commit)
        version = commit[-1].version
        history += commit
    return history


class ReadingContract(StoreCase):
    """What reads return, and from where to where."""

    async def test_from_version_is_inclusive(self, store: StoreUnderTest, actor: str) -> None:
        """A read from a version begins with that version, or with the next one stored where it is in a gap."""
        history = await stored_history(store, actor)
        for version in range(history[-1].version + 1):
            assert await store.get_events(actor, version) == [event for event in history if event.version >= version]

    @pytest.mark.parametrize("beyond", [3, 4, 1000, 2**63, VERSIONS_MAX])
    async def test_nothing_is_beyond_the_latest(self, store: StoreUnderTest, actor: str, beyond: int) -> None:
        """A read from beyond the latest version is empty."""
        await store.append(actor, drafts(2))
        assert await store.get_events(actor, beyond) == []
        assert await store.get_events(actor, beyond, limit=1) == []
        assert await drain(store.read_events(actor, beyond)) == []

    @pytest.mark.parametrize("limit", [1, 2, 3, 4, 5, 6, 7, 100, 2**63 - 1])
    async def test_limit_bounds_a_read(self, store: StoreUnderTest, actor: str, limit: int) -> None:
        """A read returns the first `limit` events from its version on, also where that cuts a commit."""
        history = events(actor, 1, 2, 3, 4, 6, 7)
        await store.save_events(history[:1])
        await store.save_events(history[1:5])
        await store.save_events(history[5:])
        assert await store.get_events(actor, limit=limit) == history[:limit]
        assert await store.get_events(actor, 3, limit=limit) == history[2 : 2 + limit]

    @pytest.mark.parametrize("batch_size", [1, 2, 3, 7, 1000])
    async def test_batches_make_the_same_read(self, store: StoreUnderTest, actor: str, batch_size: int) -> None:
        """Batches hold 1 to `batch_size` events each, cut commits where they must, and are together what get_events returns."""
        history = await stored_history(store, actor)
        for version in (0, 1, 5, history[20].version, history[20].version + 1, history[-1].version):
            batches = await drain(store.read_events(actor, version, batch_size=batch_size))
            assert all(1 <= len(batch) <= batch_size for batch in batches)
            assert [event for batch in batches for event in batch] == [event for event in history if event.version >= version]

    async def test_batches_have_a_default_size(self, store: StoreUnderTest, actor: str) -> None:
        """Without a batch size everything is read too."""
        history = await stored_history(store, actor)
        assert [event for batch in await drain(store.read_events(actor)) for event in batch] == history

    async def test_an_unknown_actor_has_no_batch(self, store: StoreUnderTest, actor: str) -> None:
        """Iterating over an actor without events yields nothing."""
        assert await drain(store.read_events(actor)) == []

    async def test_iteration_ends_where_it_began(self, store: StoreUnderTest, peer: StoreUnderTest, actor: str) -> None:
        """Events stored after iteration began are not part of it, so that it ends."""
        await store.append(actor, drafts(5))
        seen: list[int] = []
        async for batch in store.read_events(actor, batch_size=2):
            seen += [event.version for event in batch]
            await peer.append(actor, drafts(3))
        assert seen == [1, 2, 3, 4, 5]

    async def test_iteration_can_be_left(self, store: StoreUnderTest, actor: str) -> None:
        """Leaving an iteration early harms neither the store nor the next iteration."""
        await store.append(actor, drafts(10))
        for _ in range(3):
            async for batch in store.read_events(actor, batch_size=2):
                assert [event.version for event in batch] == [1, 2]
                break
        assert len(await drain(store.read_events(actor, batch_size=2))) == 5

    async def test_iterations_do_not_disturb_each_other(self, store: StoreUnderTest, actor: str) -> None:
        """Two iterations over one actor, advanced in turn, both read everything."""
        await store.append(actor, drafts(6))
        one, two = store.read_events(actor, batch_size=2), store.read_events(actor, 3, batch_size=2)
        turns = [[event.version for event in await anext(batches)] for batches in (one, two, one, two, one)]
        assert turns == [[1, 2], [3, 4], [3, 4], [5, 6], [5, 6]]
        assert (await drain(one), await drain(two)) == ([], [])

    async def test_writes_are_read_at_once(self, store: StoreUnderTest, peer: StoreUnderTest, actor: str) -> None:
        """Whatever was acknowledged, through this handle or another, is in the next read of all kinds."""
        for version in range(1, 21):
            writer = (store, peer)[version % 2]
            await writer.append(actor, NewEvent("Happened", version))
            for reader in (store, peer):
                assert await reader.get_latest_version(actor) == version
                assert len(await reader.get_events(actor)) == version
                assert [event.data for event in await reader.get_events(actor, version, limit=2)] == [version]
                assert [event.data for [event] in await drain(reader.read_events(actor, version))] == [version]

    async def test_actors_are_apart(self, store: StoreUnderTest, actor: str) -> None:
        """Reading one of many interleaved actors returns its events alone."""
        others = [f"{actor}{suffix}" for suffix in ("", "0", "1", "10", "-", "/", ".0")]
        for number in range(12):
            for other in others:
                await store.append(other, NewEvent("Happened", [other, number]))
        for other in others:
            assert [event.data for event in await store.get_events(other)] == [[other, number] for number in range(12)]
            assert {event.actor_id for event in await store.get_events(other)} == {other}
            assert await store.get_latest_version(other) == 12

    @pytest.mark.parametrize("wrong", [-1, -(2**70), 2**64])
    async def test_from_version_is_a_version(self, store: StoreUnderTest, actor: str, wrong: int) -> None:
        """A from_version that is below 0 or above every version is a ValueError."""
        with pytest.raises(ValueError, match="from_version"):
            await store.get_events(actor, wrong)
        with pytest.raises(ValueError, match="from_version"):
            await drain(store.read_events(actor, wrong))

    @pytest.mark.parametrize("wrong", [0, -1, 2**63])
    async def test_bounds_are_positive(self, store: StoreUnderTest, actor: str, wrong: int) -> None:
        """A limit or batch size below 1, or beyond what a list can hold, is a ValueError."""
        with pytest.raises(ValueError, match="limit"):
            await store.get_events(actor, limit=wrong)
        with pytest.raises(ValueError, match="batch_size"):
            await drain(store.read_events(actor, batch_size=wrong))

    @pytest.mark.parametrize("wrong", ["1", 1.0, True, b"1", [1]])
    async def test_numbers_are_ints(
        self,
        store: StoreUnderTest,
        actor: str,
        wrong: Any,  # noqa: ANN401 - the wrong type
    ) -> None:
        """A version, limit or batch size that is no int is a TypeError that names it, True included."""
        with pytest.raises(TypeError, match="from_version"):
            await store.get_events(actor, wrong)
        with pytest.raises(TypeError, match="from_version"):
            await drain(store.read_events(actor, wrong))
        with pytest.raises(TypeError, match="limit"):
            await store.get_events(actor, limit=wrong)
        with pytest.raises(TypeError, match="batch_size"):
            await drain(store.read_events(actor, batch_size=wrong))
