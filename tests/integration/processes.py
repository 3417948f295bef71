"""Processes that own a server, for tests that end them without mercy."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DEADLINE_S = 60.0

PROGRAM = """
import asyncio, contextlib, json, os, signal, subprocess, sys
import nats
from aether import EmbeddedServer

async def body(server):
{body}

async def main():
    directory, timeout_s = sys.argv[1] or None, float(sys.argv[2])
    async with EmbeddedServer(directory, timeout_s=timeout_s) as server:
        facts = dict(server=server.pid, watchdog=server.process._watchdog.pid, url=server.url, store_dir=str(server.store_dir))
        print(json.dumps(facts), flush=True)
        await body(server)

asyncio.run(main())
"""


@dataclass
class Owner:
    """A process with an embedded server."""

    process: subprocess.Popen[str]
    server: int
    watchdog: int
    url: str
    store_dir: str

    @property
    def pid(self) -> int:
        """The owner's own process id."""
        return self.process.pid

    def read_line(self) -> str:
        """Wait for the next line that the body prints."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def end(self, number: signal.Signals = signal.SIGKILL) -> None:
        """Send a signal and wait until the owner itself is gone."""
        self.process.send_signal(number)
        self.process.wait(DEADLINE_S)


@contextlib.contextmanager
def owner_process(
    directory: str | Path = "", body: str = "await asyncio.Event().wait()", timeout_s: float = 10.0
) -> Iterator[Owner]:
    """Run a process whose `body(server)` runs while its server does."""
    program = PROGRAM.format(body=textwrap.indent(textwrap.dedent(body), "    "))
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(directory), str(timeout_s)],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    try:
        yield Owner(process, **json.loads(process.stdout.readline()))
    finally:
        # The whole group, so that what the owner has forked ends as well; without any the group may be gone.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(DEADLINE_S)
        process.stdout.close()


def wait_until(condition: Callable[[], bool], what: str) -> None:
    """Wait until the condition holds, and fail after a deadline."""
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, f"not within {DEADLINE_S:g} s: {what}"
        time.sleep(0.01)


def is_gone(pid: int) -> bool:
    """Whether a process has ended; what only waits to be collected by its parent has."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def wait_until_gone(*pids: int) -> None:
    """Wait until all these processes have ended."""
    wait_until(lambda: all(map(is_gone, pids)), f"the end of processes {pids}")
