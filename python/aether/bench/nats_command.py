"""The official command `nats` as a further baseline, where it is installed: Go's client at its fastest."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING

import nats.errors

from aether.bench.measure import Side
from aether.errors import AetherError

if TYPE_CHECKING:
    from aether.bench.setting import Setting

__all__ = ["ordered_consumer", "publish_async", "subscriber"]

RUN_S = 600.0
ASK_S = 0.05
_RATE = re.compile(r"stats: ([\d,]+) msgs/sec")


def publish_async(setting: Setting, stream: str, count: int, size: int, *, subjects: int = 1) -> Side:
    """Publish acked messages of the commits' size, many in flight, without guards, on so many subjects in turn."""
    arguments = ["js", "pub", "async", f"{stream}.nats", "--stream", stream, "--size", f"{size}B"]
    name = "nats bench js pub async"
    if subjects > 1:
        arguments += ["--multisubject", "--multisubjectmax", str(subjects)]
        name += f", {subjects:,} subjects"
    return Side(name, lambda _: _run(setting, arguments, count), count, tells=True)


def ordered_consumer(setting: Setting, stream: str, count: int) -> Side:
    """Read a stream from its beginning by Go's ordered consumer."""
    return Side("nats bench js ordered", lambda _: _run(setting, ["js", "ordered", "--stream", stream], count), count, tells=True)


def subscriber(setting: Setting, subject: str, count: int, size: int) -> Side:
    """Hear core messages, which a second process of the command publishes."""

    async def run(_: None) -> float:
        hearing = asyncio.ensure_future(_run(setting, ["sub", subject, "--size", f"{size}B"], count))
        try:
            await _heard(setting, subject)
            await _run(setting, ["pub", subject, "--size", f"{size}B"], count)
            return await hearing
        finally:
            hearing.cancel()

    return Side("nats bench sub", run, count, tells=True)


async def _heard(setting: Setting, subject: str) -> None:
    """Return once somebody is subscribed: until then the server says that nobody is. It is one message more for them."""
    async with setting.client() as client, asyncio.timeout(RUN_S):
        while True:
            try:
                await client.request(subject, b"", timeout=ASK_S)
            except nats.errors.NoRespondersError:
                await asyncio.sleep(ASK_S)
            except nats.errors.TimeoutError:
                return


async def _run(setting: Setting, arguments: list[str], count: int) -> float:
    """Run a bench of the command; return the nanoseconds for a message that its own rate amounts to."""
    typed = ["bench", *arguments, "--msgs", str(count), "--no-progress", "--server", setting.url]
    process = await asyncio.create_subprocess_exec(
        setting.nats_command or "nats", *typed, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    try:
        output, _ = await asyncio.wait_for(process.communicate(), RUN_S)
    except BaseException:
        process.kill()
        await process.wait()
        raise
    found = _RATE.findall(output.decode(errors="replace"))
    if process.returncode or not found:
        raise AetherError(f"{setting.nats_command} {' '.join(typed)} ended with {process.returncode}: {output[-500:]!r}")
    return 1e9 / float(found[-1].replace(",", ""))
