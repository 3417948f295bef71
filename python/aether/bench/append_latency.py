"""One awaited save at a time, beside a bare request of nats-py with the same bytes under the same header."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from aether._native import Event, Head, encode_commit
from aether.bench.measure import WALL, Side, Target, compare
from aether.bench.setting import check
from aether.nats.stream_log import guard_bytes
from aether.nats.transport import GUARD

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from nats.aio.client import Client

    from aether.bench.measure import Line
    from aether.bench.setting import Setting

__all__ = ["lines"]

SAVES = 200
MAX_BYTES = 1_048_576
DATA = {"customer": "c-17", "total_cents": 9950, "lines": 3}


class BareWriter:
    """Sends what the store sends, the same bytes under the same header, as requests of nats-py, and knows its head by itself."""

    def __init__(self, client: Client, subject: str) -> None:
        self._client, self._subject = client, subject
        self._head = Head()

    async def save(self, event: Event) -> int:
        """Send one commit; return its position."""
        head = self._head
        body = encode_commit(event.actor_id, [event], head, header_bytes=guard_bytes(head.sequence), bytes_max=MAX_BYTES)
        answer = await self._client.request(self._subject, body, timeout=10, headers={GUARD: str(head.sequence)})
        position: int = json.loads(answer.data)["seq"]
        self._head = head.after(event.version, position)
        return position


async def lines(setting: Setting) -> list[Line]:
    """Measure."""
    repetitions = setting.repetitions(7, 15, 31)
    setting.say(f"append-latency: {2 * SAVES * (repetitions + 1):,} saves, one at a time")
    async with setting.client() as client, setting.bare_stream() as stream, setting.store() as store:
        bare = BareWriter(client, f"{stream}.order-1")
        versions = {"ours": 0, "bare": 0}

        def side(name: str, key: str, save: Callable[[Event], Awaitable[int]]) -> Side:
            samples: list[int] = []

            async def run(_: None) -> None:
                for version in range(versions[key] + 1, versions[key] + SAVES + 1):
                    begin = WALL()
                    await save(Event("order-1", "OrderPlaced", version, DATA))
                    samples.append(WALL() - begin)
                versions[key] += SAVES

            return Side(name, run, SAVES, samples=samples)

        found = await compare(
            "append-latency",
            side("aether", "ours", store.save_event),
            [side("nats-py request", "bare", bare.save)],
            repetitions=repetitions,
            clock=WALL,
            server_cpu_ns=setting.server_cpu_ns,
            targets=[[Target("slower", 1.0)]],
        )
        check(holds=await store.get_latest_version("order-1") == versions["ours"], what="the store lacks saves")
        held = (await client.jetstream().stream_info(stream)).state.messages
        check(holds=held == versions["bare"], what="the baseline's stream lacks messages")
        return found
