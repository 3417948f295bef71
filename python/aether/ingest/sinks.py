"""Where exported events go: a file in the making, or a pipe that may be slow without the event loop waiting for it."""

from __future__ import annotations

import asyncio
import os
import select
import stat
from typing import TYPE_CHECKING, Protocol, TypeVar

from aether.ingest.descriptors import writable

if TYPE_CHECKING:
    from collections.abc import Callable

    from aether.ingest.formats import TextForm
    from aether.ingest.packing import Packer
    from aether.ingest.part_file import PartFile
    from aether.store.base import PlacedBatch

__all__ = ["PipeSink", "Sink", "TextSink", "in_thread"]

T = TypeVar("T")


class Sink(Protocol):
    """What takes the events of an export."""

    async def write(self, batch: PlacedBatch) -> None:
        """Take events; they are not all written when this returns.

        Raises:
            OSError: the output cannot be written.
        """
        ...

    async def finish(self) -> None:
        """Write what is left, and do not return before a file is on the disk.

        Raises:
            OSError: the output cannot be written.
        """
        ...


async def in_thread(work: Callable[[], T]) -> T:
    """Do work that may wait for a disk; when this ends, also by being cancelled, the work is done."""
    working = asyncio.get_running_loop().run_in_executor(None, work)
    try:
        return await asyncio.shield(working)
    except asyncio.CancelledError:
        # Whoever closes the file now must not do so under the thread's hands.
        await asyncio.wait([working])
        raise


class TextSink:
    """Text into a file.

    Args:
        part: the file.
        form: the text's form.
        packer: how it is packed.
    """

    def __init__(self, part: PartFile, form: TextForm, packer: Packer) -> None:
        self._part, self._form, self._packer = part, form, packer
        self._part.file.write(packer.compress(form.heading))

    async def write(self, batch: PlacedBatch) -> None:
        """Take events; see `Sink.write`."""
        await in_thread(lambda: self._part.file.write(self._packer.compress(self._form.rows(batch))))

    async def finish(self) -> None:
        """Write what is left; see `Sink.finish`."""
        await in_thread(self._finish)

    def _finish(self) -> None:
        self._part.file.write(self._packer.flush())
        self._part.sync()


class PipeSink:
    """Text to a pipe or the like, which another process reads as it pleases.

    Args:
        descriptor: its descriptor; it stays the caller's.
        form: the text's form.
    """

    def __init__(self, descriptor: int, form: TextForm) -> None:
        self._descriptor, self._form = descriptor, form
        self._regular = stat.S_ISREG(os.fstat(descriptor).st_mode)
        self._heading = form.heading

    async def write(self, batch: PlacedBatch) -> None:
        """Take events; see `Sink.write`."""
        heading, self._heading = self._heading, b""
        await self._write(heading + self._form.rows(batch))

    async def finish(self) -> None:
        """Write what is left; see `Sink.finish`."""
        await self._write(self._heading)

    async def _write(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            if self._regular:
                rest = rest[os.write(self._descriptor, rest) :]
            else:
                await writable(self._descriptor)
                # So much a pipe takes at once if it takes any: a larger piece could block for ever.
                rest = rest[os.write(self._descriptor, rest[: select.PIPE_BUF]) :]
