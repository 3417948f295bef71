"""The clock of leases: it never goes back, and goes on while the machine is suspended.

A server's time to live goes on while a laptop sleeps or a virtual machine is paused, and the monotonic clock of Linux does not;
a holder that trusted it would wake up and believe that no time has passed. macOS and Windows have no such clock for every
process; there it is the monotonic one.
"""

from __future__ import annotations

import time

__all__ = ["boot_time"]

_BOOT_TIME: int | None = getattr(time, "CLOCK_BOOTTIME", None)


def boot_time() -> float:
    """Return the seconds since some moment in the past."""
    return time.monotonic() if _BOOT_TIME is None else time.clock_gettime(_BOOT_TIME)
