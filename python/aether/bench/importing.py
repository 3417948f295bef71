"""A file of records from disk to acked in JetStream by `aether import`, beside others that write the same events.

Ours is the command in a process of its own, its start included; it judges every record, looks up what is stored already, and
guards every commit. The others decode each line with msgspec and save it by their own means, in this process.
"""

from __future__ import annotations

import asyncio
import gzip
import importlib.util
import json
import resource
import statistics
import tempfile
from contextlib import AsyncExitStack
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from aether.bench.child import finding
from aether.bench.lines import Line, Target
from aether.bench.measure import WALL, Side, compare
from aether.bench.peer_stores import WINDOW
from aether.bench.records import records
from aether.bench.setting import check

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from aether.bench.setting import Setting

__all__ = ["lines"]

FLIGHTS = Path(__file__).parents[3] / "benches" / "data" / "flights.ndjson.gz"
"""In a checkout there are 60,000 flights, in their real order; elsewhere records are made up."""

FASTER = 5.0
SHARE_MAX = 60
RUN_S = 600.0
AT_ONCE = f"message-store, {WINDOW} tasks"
AGAIN = "importing again after 2 minutes stores everything twice"
_pack = msgspec.msgpack.encode


async def lines(setting: Setting) -> list[Line]:
    """Import a file, run after run, each into a namespace of its own."""
    count, repetitions = setting.count(5_000, 20_000, 60_000), setting.repetitions(2, 3, 3)
    async with AsyncExitStack() as stack:
        file = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "records.ndjson.gz"
        with gzip.open(file, "wt", encoding="utf-8") as out:
            out.writelines(json.dumps(record) + "\n" for record in islice(records(_flights()), count))
        sides = []
        for module, made in OTHERS:
            if importlib.util.find_spec(module) is None:
                setting.say(f"import: {module} is not installed, so it is left out: pip install 'aether-events[bench]'")
            else:
                sides.append(made(setting, await stack.enter_async_context(AsyncExitStack()), file, count))
        ours = Importing(setting, await stack.enter_async_context(AsyncExitStack()), file, count)
        setting.say(f"import: {count:,} records, {repetitions + 1} times on each side")
        found = await compare(
            f"import, {count:,} records",
            Side("aether import", ours.run, count, ours.prepare, cpu_ns=children_cpu_ns),
            sides,
            repetitions=repetitions,
            clock=WALL,
            targets=[[] if side.name == AT_ONCE else [Target("faster", FASTER)] for side in sides] if setting.plain else [],
            server_cpu_ns=setting.server_cpu_ns,
        )
    with_start = 100_000 * (found[0].cpu_us or 0.0) / found[0].ours
    aims = (Target("most", SHARE_MAX),) if setting.plain else ()
    return [
        *found,
        Line("import, the client's share of a core once it has started", statistics.median(ours.shares), "%", targets=aims),
        Line("import, the same with the start of its process", with_start, "%"),
    ]


def _flights() -> str | None:
    return str(FLIGHTS) if FLIGHTS.exists() else None


def children_cpu_ns() -> int:
    """Return the CPU time of all processes that this one has waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return int((used.ru_utime + used.ru_stime) * 1e9)


class Importing:
    """Runs the command, each time with an empty namespace."""

    def __init__(self, setting: Setting, stack: AsyncExitStack, file: Path, count: int) -> None:
        self._setting, self._stack, self._file, self._count = setting, stack, file, count
        self.shares: list[float] = []

    async def prepare(self) -> Any:
        """Make a namespace, and delete the one before."""
        await self._stack.aclose()
        return await self._stack.enter_async_context(self._setting.store())

    async def run(self, store: Any) -> None:
        """Import everything; the summary of the command is its last word on stdout."""
        namespace = (await store.info()).namespace
        typed = ["import", "--url", self._setting.url, "--namespace", namespace, "--json", str(self._file)]
        output = await finding("aether", *typed, limit_s=RUN_S, is_quiet=True)
        told = json.loads(output.splitlines()[-1])
        saved = told["saved"]
        self.shares.append(100 * told["client_cpu_s"] / told["seconds"])
        check(holds=saved == self._count, what=f"{saved:,} of {self._count:,} records were imported")


def numbered(file: Path) -> Iterator[tuple[dict[str, Any], int]]:
    """Read records, each with its actor's next version."""
    versions: dict[str, int] = {}
    decode = msgspec.json.Decoder(dict[str, Any]).decode
    with gzip.open(file) as lines:
        for line in lines:
            record = decode(line)
            versions[record["actor_id"]] = version = versions.get(record["actor_id"], 0) + 1
            yield record, version


def _sqlite(_: Setting, stack: AsyncExitStack, file: Path, count: int) -> Side:
    from eventsourcing.persistence import StoredEvent  # noqa: PLC0415 - optional
    from eventsourcing.sqlite import SQLiteAggregateRecorder, SQLiteDatastore  # noqa: PLC0415 - optional

    async def prepare() -> SQLiteAggregateRecorder:
        await stack.aclose()
        directory = stack.enter_context(tempfile.TemporaryDirectory())
        datastore = SQLiteDatastore(str(Path(directory) / "events.db"), originator_id_type="text")
        stack.callback(datastore.close)
        recorder = SQLiteAggregateRecorder(datastore)
        recorder.create_table()
        return recorder

    def run(recorder: SQLiteAggregateRecorder) -> None:
        for record, version in numbered(file):
            state = _pack({"id": record["id"], "time": record["timestamp"], "data": record["data"]})
            recorder.insert_events([StoredEvent(record["actor_id"], version, record["event_type"], state)])

    differs = "one host; synced to disk before each ack; importing again is an error"
    return Side("eventsourcing, SQLite", run, count, prepare, differs=differs, server_cpu_ns=lambda: None)


def _message_store(setting: Setting, stack: AsyncExitStack, file: Path, count: int, *, at_once: int) -> Side:
    """Wait for each, as message-store's documentation does, or let tasks publish at the same time, which is ours."""
    from message_store import Message, MessageStore  # noqa: PLC0415 - optional

    async def prepare() -> MessageStore:
        await stack.aclose()
        client = await stack.enter_async_context(setting.client())
        return MessageStore(client, await stack.enter_async_context(setting.bare_stream()))

    async def run(store: MessageStore) -> None:
        async def publish(record: dict[str, Any], version: int) -> None:
            message = Message(record["event_type"], {"version": version, "time": record["timestamp"], "data": record["data"]})
            await store.publish_message(f"flights.{record['actor_id']}", message, msg_id=record["id"])

        left = numbered(file)
        while window := list(islice(left, at_once)):
            await asyncio.gather(*(publish(*each) for each in window))

    differs = "no expected version; " + ("no order within an actor where one is sent again; " if at_once > 1 else "") + AGAIN
    return Side(AT_ONCE if at_once > 1 else "message-store", run, count, prepare, differs=differs)


OTHERS: list[tuple[str, Callable[[Setting, AsyncExitStack, Path, int], Side]]] = [
    ("eventsourcing", _sqlite),
    ("message_store", partial(_message_store, at_once=1)),
    ("message_store", partial(_message_store, at_once=WINDOW)),
]
"""By the module that each needs."""
