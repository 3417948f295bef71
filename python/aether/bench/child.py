"""Runs a module in a process of its own, which prints its one finding: for figures that this process would disturb."""

from __future__ import annotations

import asyncio
import contextlib
import sys

from aether.bench.setting import check

__all__ = ["finding"]

CHILD_S = 3600.0


async def finding(module: str, *arguments: str) -> bytes:
    """Return what the module printed.

    Raises:
        AetherError: the process failed; what it said is on stderr.
        TimeoutError: it took longer than an hour.
    """
    child = await asyncio.create_subprocess_exec(sys.executable, "-m", module, *arguments, stdout=asyncio.subprocess.PIPE)
    try:
        output, _ = await asyncio.wait_for(child.communicate(), CHILD_S)
    finally:
        with contextlib.suppress(ProcessLookupError):
            child.kill()
    check(holds=child.returncode == 0, what=f"the process of {module} ended with {child.returncode}")
    return output
