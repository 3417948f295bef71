"""Room for so many at a time."""

from __future__ import annotations

import asyncio

import pytest

from aether.cluster.room import Room


class Guests:
    """Guests of a room for two, each there until it is told to leave."""

    def __init__(self) -> None:
        self.room = Room(2)
        self.came: list[int] = []
        self.ends: dict[int, asyncio.Event] = {}
        self.tasks: dict[int, asyncio.Task[None]] = {}

    async def come(self, number: int, *, first: bool = False) -> None:
        """Have one come, which may have to wait."""
        self.ends[number] = asyncio.Event()
        self.tasks[number] = asyncio.create_task(self._stay(number, first))
        await asyncio.sleep(0)

    async def _stay(self, number: int, first: bool) -> None:
        async with self.room.at(number, first=first):
            self.came.append(number)
            await self.ends[number].wait()

    async def leave(self, *numbers: int) -> None:
        """Have these leave, and see who comes in."""
        for number in numbers:
            self.ends[number].set()
            await self.tasks[number]
            await asyncio.sleep(0)


async def test_guests_come_in_order_unless_one_is_needed_sooner():
    """So many are in at a time; who waits comes in order, but those that are needed come before all others."""
    guests = Guests()
    for number in range(5):
        await guests.come(number)
    assert guests.came == [0, 1]
    await guests.come(5, first=True)
    guests.room.hurry(3)
    guests.room.hurry(9)  # of whom nothing is known
    await guests.leave(0, 1, 3, 5, 2, 4)
    assert guests.came == [0, 1, 3, 5, 2, 4]


async def test_who_gives_up_takes_no_room():
    """Who gives up while waiting, or at the very moment of being let in, leaves the room to the next."""
    guests = Guests()
    async with guests.room.at(0), guests.room.at(1):
        for number in range(2, 5):
            await guests.come(number)
        guests.tasks[2].cancel()
        await asyncio.wait([guests.tasks[2]])
    guests.tasks[3].cancel()  # it was let in, and does not know it yet
    for number in (2, 3):
        with pytest.raises(asyncio.CancelledError):
            await guests.tasks[number]
    for number in range(5, 8):
        await guests.come(number)
    assert guests.came == [4, 5]
    await guests.leave(4, 5)
    assert guests.came == [4, 5, 6, 7]
