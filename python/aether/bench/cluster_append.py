"""An owner's append, fenced by its shard's epoch, beside an append of a plain store, guarded by its actor's last message.

Both go one after the other to a few actors that both know, on the same server. The owner's store holds no lease, which costs
nothing at a write but a look at the clock.
"""

from __future__ import annotations

import contextlib
import secrets
from typing import TYPE_CHECKING

from aether.bench.measure import WALL, Side, Target, compare
from aether.bench.setting import TIMEOUT_S, check
from aether.event import NewEvent
from aether.nats.subjects import events_stream, snapshots_stream
from aether.store.sole_owner import SoleOwnerStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aether.bench.lines import Line
    from aether.bench.setting import Setting
    from aether.store.jetstream import JetStreamEventStore

__all__ = ["lines", "owner"]

APPENDS = 200
ACTORS = 20
RATIO_MAX = 1.4
DATA = {"customer": "c-17", "total_cents": 9950, "lines": 3}


async def lines(setting: Setting) -> list[Line]:
    """Measure."""
    repetitions = setting.repetitions(7, 15, 31)
    setting.say(f"cluster, fenced append: {2 * APPENDS * (repetitions + 1):,} appends, one at a time")
    async with setting.store() as plain, owner(setting) as fenced:
        found = await compare(
            "cluster, fenced append",
            _side("aether, an owner", fenced),
            [_side("aether, a plain store", plain)],
            repetitions=repetitions,
            clock=WALL,
            server_cpu_ns=setting.server_cpu_ns,
            targets=[[Target("slower", RATIO_MAX)]] if setting.plain else (),
        )
        for store in (plain, fenced):
            stored = sum([len(batch) async for batch in store.read_all()])
            check(holds=stored == APPENDS * (repetitions + 1), what=f"{stored:,} appends are stored")
        return found


def _side(name: str, store: JetStreamEventStore) -> Side:
    samples: list[int] = []

    async def run(_: None) -> None:
        for number in range(APPENDS):
            begin = WALL()
            await store.append(f"order-{number % ACTORS}", NewEvent("OrderPlaced", DATA))
            samples.append(WALL() - begin)

    return Side(name, run, APPENDS, samples=samples)


@contextlib.asynccontextmanager
async def owner(setting: Setting) -> AsyncIterator[SoleOwnerStore]:
    """Yield a store that owns what it writes to, whose streams are deleted afterwards."""
    namespace = f"bench-{secrets.token_hex(4)}"
    try:
        async with SoleOwnerStore(
            setting.url, namespace=namespace, timeout_s=TIMEOUT_S, storage=setting.storage, replicas=setting.replicas
        ) as store:
            yield store
    finally:
        await setting.delete(events_stream(namespace), snapshots_stream(namespace))
