"""Runs a module in a process of its own, which prints its one finding: for figures that this process would disturb."""

from __future__ import annotations

import asyncio
import contextlib
import sys

from aether.bench.setting import check

__all__ = ["finding"]

CHILD_S = 3600.0


async def finding(module: str, *arguments: str, limit_s: float = CHILD_S, is_quiet: bool = False) -> bytes:
    """Return what the module printed; what it says on stderr stands there, or, where it is to be quiet, in the error.

    Raises:
        AetherError: the process failed.
        TimeoutError: it took longer than it may.
    """
    pipe = asyncio.subprocess.PIPE
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", module, *arguments, stdout=pipe, stderr=pipe if is_quiet else None
    )
    try:
        output, said = await asyncio.wait_for(child.communicate(), limit_s)
    finally:
        with contextlib.suppress(ProcessLookupError):
            child.kill()
    check(holds=child.returncode == 0, what=f"the process of {module} ended with {child.returncode}: {(said or b'')[-500:]!r}")
    return output
