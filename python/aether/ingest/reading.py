"""Bytes out of a file or a pipe, packed or not, in bounded memory and without blocking the event loop.

Bytes are read with `os.read`, from a regular file in a thread and from anything else when the loop says that there are some:
so a pipe that is silent for ever neither blocks the loop nor leaves a thread behind that nobody can end.
"""

from __future__ import annotations

import asyncio
import os
import stat
from typing import TYPE_CHECKING

from aether.ingest.descriptors import readable
from aether.ingest.unpacking import MAGIC_BYTES, unpacker

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from aether.ingest.unpacking import Unpacker

__all__ = ["Reading"]

CHUNK_BYTES = 256 * 2**10


class Reading:
    """The bytes of an open file, unpacked.

    Args:
        descriptor: the open file's descriptor; it stays the caller's, who closes it.
        name: what to call it in messages.

    Attributes:
        size: the file's bytes as they lie on the disk; None for a pipe.
        done: how many of them were read so far.
    """

    def __init__(self, descriptor: int, name: str) -> None:
        about = os.fstat(descriptor)
        self._descriptor = descriptor
        self._name = name
        self._regular = stat.S_ISREG(about.st_mode)
        self.size = about.st_size if self._regular else None
        self.done = 0

    async def pieces(self) -> AsyncGenerator[bytes]:
        """Yield the bytes that are there, in pieces of bounded size.

        Raises:
            AetherError: packed data is damaged or ends early; all in front of that place was yielded.
            OSError: the file cannot be read.
        """
        unpacking: Unpacker | None = None
        head = b""
        while chunk := await self._read():
            if unpacking is None:
                # A pipe may bring its first bytes one by one.
                head += chunk
                if len(head) < MAGIC_BYTES:
                    continue
                chunk, unpacking = head, unpacker(head, self._name)
            for piece in unpacking.feed(chunk):
                yield piece
        if unpacking is not None:
            unpacking.end()
        elif head:
            yield head

    async def _read(self) -> bytes:
        if not self._regular:
            await readable(self._descriptor)
        chunk = await asyncio.to_thread(os.read, self._descriptor, CHUNK_BYTES) if self._regular else self._read_now()
        self.done += len(chunk)
        return chunk

    def _read_now(self) -> bytes:
        return os.read(self._descriptor, CHUNK_BYTES)
