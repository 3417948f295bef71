"""Several processes that ingest into one namespace of a real server at once, actors of their own each: the same events in all.

`aether bench processes` prints who is the limit; `pytest benches/bench_processes.py -n0 --benchmark-enable` absolute times.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import pytest

from aether import EmbeddedServer
from aether.bench.processes import workers
from aether.bench.setting import Setting

if TYPE_CHECKING:
    from aether.bench.processes import Workers


@pytest.mark.parametrize("number", [1, 2])
def test_processes_put_at_once(benchmark: Any, request: pytest.FixtureRequest, number: int) -> None:
    """Whatever their number, all events are acked, and the stream has as many commits."""
    count = 50_000 if request.config.getoption("--benchmark-enable") else 400

    async def start(stack: AsyncExitStack) -> Workers:
        server = await stack.enter_async_context(EmbeddedServer(sync=120))
        return await stack.enter_async_context(workers(Setting(server.url, "once", lambda _: None), number, count))

    with asyncio.Runner() as runner:
        stack = AsyncExitStack()
        try:
            putting = runner.run(start(stack))
            benchmark.pedantic(
                lambda: runner.run(putting.put(None)), setup=lambda: runner.run(putting.make()), rounds=3, warmup_rounds=1
            )
            assert putting.saved() > 0
            assert putting.saved() % count == 0
        finally:
            runner.run(stack.aclose())
