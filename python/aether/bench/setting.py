"""Where and how large: what every scenario is given."""

from __future__ import annotations

import contextlib
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import nats
from nats.js.api import StorageType

from aether.errors import AetherError
from aether.nats.subjects import events_stream, snapshots_stream
from aether.store.jetstream import JetStreamEventStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from nats.aio.client import Client

__all__ = ["PAYLOAD", "PAYLOAD_BYTES", "Setting", "check", "cpu_ns_of"]

TIMEOUT_S = 30.0
DEFAULT_SYNC = "every 120 s"
PAYLOAD = {"v": "x" * 123}
PAYLOAD_BYTES = 128
"""Of `PAYLOAD` as msgpack."""


@dataclass(frozen=True)
class Setting:
    """What a scenario is given.

    Attributes:
        url: a running server.
        size: how much is done and how often; "full" is what figures in documents are taken with, "once" what tests take.
        say: tells what is being done, for whoever waits.
        nats_command: the official command-line tool, where there is one; it is a further baseline then.
        messages: among how many messages `load` looks, and how many `sustained` puts; None: as many as the size says.
        server_pids: the servers' processes, where they are ours and run on this machine; their CPU time is told then.
        storage: of streams that are made.
        replicas: of streams that are made.
        sync: when acked data is on the disk itself, in words; "" where that is not known.
        processes: how many put events at once in `processes`.
    """

    url: str
    size: Literal["once", "quick", "ci", "full"]
    say: Callable[[str], None]
    nats_command: str | None = None
    messages: int | None = None
    server_pids: tuple[int, ...] = ()
    storage: Literal["file", "memory"] = "file"
    replicas: int = 1
    sync: str = ""
    processes: int = 2

    def server_cpu_ns(self) -> int | None:
        """Return the CPU time that the servers have used so far; see `cpu_ns_of`."""
        return cpu_ns_of(self.server_pids)

    @property
    def plain(self) -> bool:
        """Whether this is what targets are for: one server, file storage, its default sync interval, as much as to count."""
        return (self.storage, self.replicas, self.sync) == ("file", 1, DEFAULT_SYNC) and self.size != "once"

    def count(self, quick: int, ci: int, full: int) -> int:
        """Return how much is done."""
        return {"once": quick // 25, "quick": quick, "ci": ci, "full": full}[self.size]

    def repetitions(self, quick: int, ci: int, full: int) -> int:
        """Return how often."""
        return {"once": 2, "quick": quick, "ci": ci, "full": full}[self.size]

    @contextlib.asynccontextmanager
    async def client(self) -> AsyncIterator[Client]:
        """Yield a stock nats-py client, for the baselines."""
        client = await nats.connect(self.url, pending_size=64 * 2**20)
        try:
            yield client
        finally:
            await client.close()

    @contextlib.asynccontextmanager
    async def store(self) -> AsyncIterator[JetStreamEventStore]:
        """Yield a store on a namespace of its own, whose streams are deleted afterwards."""
        namespace = f"bench-{secrets.token_hex(4)}"
        try:
            async with self.made_store(namespace) as store:
                yield store
        finally:
            await self.delete(events_stream(namespace), snapshots_stream(namespace))

    async def delete(self, *streams: str) -> None:
        """Delete streams."""
        async with self.client() as client:
            for stream in streams:
                await client.jetstream().delete_stream(stream)

    def made_store(self, namespace: str) -> JetStreamEventStore:
        """Return a store on a namespace that stays."""
        return JetStreamEventStore(
            self.url, namespace=namespace, timeout_s=TIMEOUT_S, storage=self.storage, replicas=self.replicas
        )

    async def stream_bytes(self, stream: str) -> int:
        """Return how many bytes a stream holds, as its leader counts them: messages, subjects, headers and records of each."""
        async with self.client() as client:
            return int((await client.jetstream().stream_info(stream)).state.bytes)

    @contextlib.asynccontextmanager
    async def bare_stream(self) -> AsyncIterator[str]:
        """Yield the name of a plain stream, which takes NAME.>, for what does without a store; deleted afterwards."""
        name = f"BENCH-{secrets.token_hex(4)}"
        async with self.client() as client:
            await client.jetstream().add_stream(
                name=name,
                subjects=[f"{name}.>"],
                allow_direct=True,
                storage=StorageType(self.storage),
                num_replicas=self.replicas,
            )
            try:
                yield name
            finally:
                await client.jetstream().delete_stream(name)


def cpu_ns_of(pids: tuple[int, ...]) -> int | None:
    """Return the CPU time that processes have used so far, to a tick of 10 ms; None where that cannot be known."""
    stats = [Path(f"/proc/{pid}/stat") for pid in pids]
    if not stats or not all(stat.exists() for stat in stats):
        return None
    # The second field, a name in brackets, may hold blanks; user and system time are the 14th and 15th.
    fields = [stat.read_text().rpartition(")")[2].split() for stat in stats]
    return sum(int(each[11]) + int(each[12]) for each in fields) * 1_000_000_000 // os.sysconf("SC_CLK_TCK")


def check(*, holds: bool, what: str) -> None:
    """Refuse a comparison whose sides did not do the same.

    Raises:
        AetherError: it does not hold.
    """
    if not holds:
        raise AetherError(f"the comparison is void: {what}")
