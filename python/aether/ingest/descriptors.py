"""Waiting for a pipe without blocking the event loop, and without a thread that nobody could end."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from aether.nats.waiting import finish

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["readable", "writable"]


async def readable(descriptor: int) -> None:
    """Return when a read would not wait."""
    loop = asyncio.get_running_loop()
    await _ready(descriptor, loop.add_reader, loop.remove_reader)


async def writable(descriptor: int) -> None:
    """Return when a write of a pipe's smallest unit would not wait."""
    loop = asyncio.get_running_loop()
    await _ready(descriptor, loop.add_writer, loop.remove_writer)


async def _ready(descriptor: int, add: Callable[..., object], remove: Callable[[int], object]) -> None:
    ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    try:
        add(descriptor, finish, ready)
    except PermissionError:
        return  # a device that cannot be waited for, as /dev/null: it answers at once
    try:
        await ready
    finally:
        remove(descriptor)
