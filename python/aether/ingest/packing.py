"""Plain bytes to packed ones, as the file's name says."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Protocol

from aether.errors import AetherError

__all__ = ["Packer", "packer"]

GZIP_WINDOW_BITS = 31
GZIP_LEVEL = 6
ZSTD_LEVEL = 3


class Packer(Protocol):
    """What makes packed bytes of plain ones."""

    def compress(self, data: bytes, /) -> bytes:
        """Take bytes, and return what of the packed ones is there yet."""
        ...

    def flush(self) -> bytes:
        """Return the rest; nothing may follow."""
        ...


def packer(name: str) -> Packer:
    """Return what packs a file of this name: gzip for `.gz`, zstd for `.zst`, nothing else.

    Raises:
        AetherError: the package that can is not installed.
    """
    suffix = Path(name).suffix
    if suffix == ".gz":
        return zlib.compressobj(GZIP_LEVEL, wbits=GZIP_WINDOW_BITS)
    return _zstd(name) if suffix == ".zst" else _Plain()


def _zstd(name: str) -> Packer:
    try:
        import zstandard  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise AetherError(f"{name} is to be packed with zstd; for that: pip install 'aether-events[zstd]'") from error
    packing: Packer = zstandard.ZstdCompressor(level=ZSTD_LEVEL, write_checksum=True).compressobj()
    return packing


class _Plain:
    def compress(self, data: bytes, /) -> bytes:
        return data

    def flush(self) -> bytes:
        return b""
