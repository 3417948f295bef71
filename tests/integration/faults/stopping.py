"""Processes that hang: stopped by SIGSTOP, which takes its time, and woken again."""

from __future__ import annotations

import contextlib
import os
import signal
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from faults.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

__all__ = ["stop", "stopped", "wake"]


async def stop(pid: int) -> None:
    """Stop a process; return when each of its threads has stopped, for until then they answer."""
    os.kill(pid, signal.SIGSTOP)
    await until(lambda: all(_has_stopped(task) for task in Path(f"/proc/{pid}/task").iterdir()))


def wake(pid: int) -> None:
    """Let a process go on, if it was not killed meanwhile."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)


@asynccontextmanager
async def stopped(pid: int) -> AsyncIterator[None]:
    """Stop a process within this block."""
    try:
        await stop(pid)
        yield
    finally:
        wake(pid)


def _has_stopped(task: Path) -> bool:
    try:
        return (task / "stat").read_text().rpartition(")")[2].split()[0] == "T"
    except (FileNotFoundError, ProcessLookupError):
        return True  # a thread that has ended
