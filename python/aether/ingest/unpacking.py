"""Packed bytes to plain ones, in pieces of bounded size however well they were packed; their first bytes tell how."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any, Protocol

from aether.errors import AetherError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["MAGIC_BYTES", "Unpacker", "unpacker"]

PIECE_BYTES = 256 * 2**10
MAGIC_BYTES = 4
"""So many first bytes tell how the rest is packed."""
GZIP_MAGIC = b"\x1f\x8b"
GZIP_WINDOW_BITS = 31
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
ZSTD_FEED_BYTES = 256
"""Four packed bytes may hold 128 KiB, and the package has no other way to bound what comes out at once."""


class Unpacker(Protocol):
    """What makes plain bytes of packed ones."""

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """Yield what these bytes hold.

        Raises:
            AetherError: they are damaged; all in front of the damage was yielded.
        """
        ...

    def end(self) -> None:
        """Say that there are no more.

        Raises:
            AetherError: there should be.
        """
        ...


def unpacker(head: bytes, name: str) -> Unpacker:
    """Return what unpacks an input that begins so.

    Raises:
        AetherError: the package that can is not installed.
    """
    if head.startswith(GZIP_MAGIC):
        return _Gzip(name)
    return _Zstd(name) if head.startswith(ZSTD_MAGIC) else _Plain()


class _Plain:
    def feed(self, chunk: bytes) -> Iterator[bytes]:
        yield chunk

    def end(self) -> None:
        pass


class _Gzip:
    """Files may hold several gzip members, one after another, and end in zeros."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._inflate = zlib.decompressobj(GZIP_WINDOW_BITS)

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        while chunk:
            if self._inflate.eof:
                chunk = chunk.lstrip(b"\0")
                if not chunk:
                    return
                self._inflate = zlib.decompressobj(GZIP_WINDOW_BITS)
            try:
                part = self._inflate.decompress(chunk, PIECE_BYTES)
            except zlib.error as error:
                raise AetherError(f"{self._name}: the gzip data is damaged ({error}); check the file with: gzip -t") from error
            if part:
                yield part
            chunk = self._inflate.unused_data if self._inflate.eof else self._inflate.unconsumed_tail

    def end(self) -> None:
        if not self._inflate.eof:
            raise AetherError(f"{self._name}: the gzip data ends early; check the file with: gzip -t")


class _Zstd:
    """Files may hold several frames, one after another."""

    def __init__(self, name: str) -> None:
        try:
            import zstandard  # noqa: PLC0415 - an extra
        except ImportError as error:
            raise AetherError(f"{name} is packed with zstd; to read it: pip install 'aether-events[zstd]'") from error
        self._name = name
        self._error = zstandard.ZstdError
        self._new = zstandard.ZstdDecompressor().decompressobj
        self._frame: Any = None

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        for start in range(0, len(chunk), ZSTD_FEED_BYTES):
            rest = chunk[start : start + ZSTD_FEED_BYTES]
            while rest:
                self._frame = self._frame or self._new()
                try:
                    part = self._frame.decompress(rest)
                except self._error as error:
                    raise AetherError(
                        f"{self._name}: the zstd data is damaged ({error}); check the file with: zstd -t"
                    ) from error
                if part:
                    yield part
                rest = self._frame.unused_data if self._frame.eof else b""
                if self._frame.eof:
                    self._frame = None

    def end(self) -> None:
        if self._frame is not None:
            raise AetherError(f"{self._name}: the zstd data ends early; check the file with: zstd -t")
