"""A file that gets its name when it is complete: until then it is written beside it, as NAME.part."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import IO, TYPE_CHECKING, Self

from aether.errors import AetherError

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["PartFile"]


class PartFile:
    """A file in the making, a context manager: what is not kept when it is left is gone.

    Args:
        name: the file's name. One that is there is replaced, all at once, by `keep`.

    Attributes:
        path: where it is written meanwhile.
        file: the open file.

    Raises:
        AetherError: the name is taken by what is no file, or another process is writing this file.
        OSError: it cannot be made.
    """

    def __init__(self, name: str) -> None:
        self._final = Path(name)
        if self._final.exists() and not self._final.is_file():
            raise AetherError(f"{name} is there and no file; name another, or write to standard output: -")
        self.path = Path(f"{name}.part")
        self._kept = False
        self.file: IO[bytes] = self._opened()

    def _opened(self) -> IO[bytes]:
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            # The lock goes with the process, so what a killed one left behind is in nobody's way.
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(descriptor, 0)
        except BlockingIOError as error:
            os.close(descriptor)
            raise AetherError(f"{self.path} is being written by another process; wait for it, or name another file") from error
        except BaseException:
            os.close(descriptor)
            raise
        return os.fdopen(descriptor, "wb")

    def __enter__(self) -> Self:
        return self

    def sync(self) -> None:
        """Return when all that was written is on the disk."""
        self.file.flush()
        os.fsync(self.file.fileno())

    def keep(self) -> None:
        """Give the file its name, in the place of what has it."""
        self.path.replace(self._final)
        folder = os.open(self._final.parent, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        self._kept = True

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        if not self._kept:
            # Before it is closed: the lock still keeps others from it.
            self.path.unlink(missing_ok=True)
        self.file.close()
