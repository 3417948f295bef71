"""A candidate in a process of its own: leads when it can, acts while its term is valid, and says what it did, a line each.

    python election_worker.py URL NAMESPACE NAME TTL REPLICAS BLOCK_S

Lines are JSON: what happened, the term, and the machine's monotonic time, which all processes share. The time of an act is read
before the term is asked whether it is valid: a process that is stopped between the two acted on what was true before.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import time

from aether import LeaderElection, Leadership

ACT_EVERY_S = 0.01


def say(what: str, term: int, at: float | None = None) -> None:
    """Print what happened, for the test to read."""
    line = {"what": what, "term": term, "at": time.monotonic() if at is None else at}
    sys.stdout.write(f"{json.dumps(line)}\n")
    sys.stdout.flush()


async def act(term: Leadership, block_s: float, stop: asyncio.Event) -> None:
    """Act as long as the term is valid."""
    while not stop.is_set():
        at = time.monotonic()
        if not term.valid:
            say("lost", term.number)
            return
        say("acts", term.number, at)
        if block_s:
            # Nothing runs meanwhile, no timer and no answer; the first thing after it is to ask.
            time.sleep(block_s)  # noqa: ASYNC251 - a loop that is blocked
            say("valid after the block" if term.valid else "invalid after the block", term.number)
            block_s = 0.0
        await asyncio.sleep(ACT_EVERY_S)


async def work(url: str, namespace: str, name: str, *numbers: str) -> None:
    """Lead again and again until SIGTERM; `numbers` are TTL, REPLICAS and BLOCK_S."""
    ttl, replicas, block_s = map(float, numbers)
    stop, leads = asyncio.Event(), False

    async def candidate() -> None:
        nonlocal leads
        async with LeaderElection(
            url, group="group", namespace=namespace, candidate=name, ttl=ttl, replicas=int(replicas), timeout_s=20
        ) as election:
            say("ready", 0)
            block = block_s
            while not stop.is_set():
                async with election.leadership() as term:
                    leads = True
                    say("leads", term.number)
                    await act(term, block, stop)
                    block = 0.0
                leads = False
                say("left", term.number)

    task = asyncio.create_task(candidate())

    def end() -> None:
        stop.set()
        if not leads:
            task.cancel()  # it only waits

    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, end)
    await asyncio.wait([task])


if __name__ == "__main__":
    asyncio.run(work(*sys.argv[1:]))
