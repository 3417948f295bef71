"""Other stores for Python programs, each doing the same work by its own means: save an event, save many, load an actor.

Every event has an id, a time and the same data. Each store is asked for the strongest guard it offers; what it promises less, or
more, stands in `differs`.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import shutil
import signal
import tempfile
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from aether._native import Event
from aether.bench.setting import PAYLOAD, cpu_ns_of
from aether.errors import AetherError
from aether.nats.local_cluster import free_ports

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable

    from aether.bench.setting import Setting
    from aether.store.base import EventStore

__all__ = ["MessageStore", "Ours", "Peer", "Recorder", "uma"]

WINDOW = 64
"""How many saves are in flight where a store has no pipeline of its own."""

UMA_THREADS = 16
START_S = 20.0
POLL_S = 0.02
_pack, _unpack = msgspec.msgpack.encode, msgspec.msgpack.decode


class Peer:
    """A store.

    Attributes:
        name: what the table calls it.
        differs: what it promises otherwise.
        server_cpu_ns: the CPU time that its server has used so far; None from it: it has none, or that cannot be known.
    """

    name: str
    differs = ""
    server_cpu_ns: Callable[[], int | None] = staticmethod(lambda: None)

    async def save(self, actor_id: str, version: int) -> None:
        """Make and save one event."""
        raise NotImplementedError

    async def save_many(self, numbered: Iterable[tuple[str, int]]) -> None:
        """Make and save events, each a commit; an actor's next comes at least a window later."""
        for actor_id, version in numbered:
            await self.save(actor_id, version)

    async def load(self, actor_id: str) -> int:
        """Load an actor, look at the data of each event, and return how many there are."""
        raise NotImplementedError


async def in_windows(peer: Peer, numbered: Iterable[tuple[str, int]]) -> None:
    """Save a window's worth at once, then the next."""
    left = iter(numbered)
    while window := list(itertools.islice(left, WINDOW)):
        await asyncio.gather(*(peer.save(*each) for each in window))


class Ours(Peer):
    """One of our stores."""

    name = "aether"

    def __init__(self, store: EventStore, server_cpu_ns: Callable[[], int | None]) -> None:
        self._store = store
        self.server_cpu_ns = server_cpu_ns

    async def save(self, actor_id: str, version: int) -> None:
        """Save."""
        await self._store.save_event(Event(actor_id, "Measured", version, PAYLOAD))

    async def save_many(self, numbered: Iterable[tuple[str, int]]) -> None:
        """Put into a pipeline."""
        async with self._store.ingest(commit_events_max=1) as pipeline:
            await pipeline.put_many(Event(actor_id, "Measured", version, PAYLOAD) for actor_id, version in numbered)

    async def load(self, actor_id: str) -> int:
        """Load."""
        return sum(event.data == PAYLOAD for event in await self._store.get_events(actor_id))


class Recorder(Peer):
    """A recorder of eventsourcing's, below its aggregates and mappers: its fastest way in."""

    def __init__(self, name: str, recorder: Any, differs: str) -> None:
        from eventsourcing.persistence import StoredEvent  # noqa: PLC0415 - optional

        self.name, self._recorder, self.differs, self._event = name, recorder, differs, StoredEvent

    async def save(self, actor_id: str, version: int) -> None:
        """Insert, in one transaction."""
        state = _pack({"id": str(uuid.uuid4()), "time_ns": time.time_ns(), "data": PAYLOAD})
        self._recorder.insert_events([self._event(actor_id, version, "Measured", state)])

    async def load(self, actor_id: str) -> int:
        """Select and decode."""
        return sum(_unpack(event.state)["data"] == PAYLOAD for event in self._recorder.select_events(actor_id))


class InMemoryPeer(Peer):
    """The in-memory store of eventsource-py."""

    name = "eventsource-py, in memory"
    differs = "its events stay ordinary objects, nothing is encoded"

    def __init__(self) -> None:
        import eventsource  # noqa: PLC0415 - optional

        logging.getLogger("eventsource").setLevel(logging.ERROR)

        class Measured(eventsource.DomainEvent):
            """An event with the same data."""

            aggregate_type: str = "Device"
            v: str

        self._event, self._library, self._store = Measured, eventsource, eventsource.InMemoryEventStore()

    def _stream(self, actor_id: str) -> Any:
        return self._library.StreamId(uuid.uuid5(uuid.NAMESPACE_OID, actor_id), "Device")

    async def save(self, actor_id: str, version: int) -> None:
        """Append behind the version before."""
        stream = self._stream(actor_id)
        event = self._event(aggregate_id=stream.aggregate_id, aggregate_version=version, v=PAYLOAD["v"])
        await self._store.append(stream, [event], self._library.ExpectedVersion.exact(version - 1))

    async def load(self, actor_id: str) -> int:
        """Read the stream."""
        read = 0
        async for held in self._store.read_stream(self._stream(actor_id)):
            event: Any = held.event
            read += event.v == PAYLOAD["v"]
        return read


class MessageStore(Peer):
    """message-store on the same server, one JSON message an event."""

    name = "message-store"
    differs = "no expected version; an id is recognised for 2 minutes; a load makes a consumer"

    def __init__(self, client: Any, stream: str, server_cpu_ns: Callable[[], int | None]) -> None:
        import message_store  # noqa: PLC0415 - optional

        self._library, self._store = message_store, message_store.MessageStore(client, stream)
        self.server_cpu_ns = server_cpu_ns

    async def save(self, actor_id: str, version: int) -> None:
        """Publish; nothing takes the version, so it travels with the data."""
        message = self._library.Message("Measured", {"version": version, "time_ns": time.time_ns(), "data": PAYLOAD})
        await self._store.publish_message(f"device.{actor_id}", message, msg_id=str(uuid.uuid4()))

    async def save_many(self, numbered: Iterable[tuple[str, int]]) -> None:
        """Publish a window's worth at once."""
        await in_windows(self, numbered)

    async def load(self, actor_id: str) -> int:
        """Fetch by a projection that counts."""

        def seen(count: int, message: Any) -> int:
            return count + int(message.data["data"] == PAYLOAD)

        read: int = await self._store.fetch(f"device.{actor_id}", self._library.Projection(lambda: 0, {"Measured": seen}))
        return read


class Uma(Peer):
    """UmaDB: a server of its own, a client that blocks."""

    name = "UmaDB"
    differs = "one host; synced to disk before each ack; conditions over any tags; ids are not recognised"

    def __init__(self, url: str, pid: int) -> None:
        import umadb  # noqa: PLC0415 - optional

        self._library, self._url, self._last = umadb, url, dict[str, int]()
        self._threads = ThreadPoolExecutor(UMA_THREADS)
        self._own = threading.local()
        self._clients: list[Any] = []
        self.server_cpu_ns = lambda: cpu_ns_of((pid,))

    def _client(self) -> Any:
        """Return this thread's client: one cannot be used by two at once."""
        if not hasattr(self._own, "client"):
            self._own.client = self._library.Client(self._url)
            self._clients.append(self._own.client)
        return self._own.client

    def close(self) -> None:
        """End threads and clients."""
        self._threads.shutdown()
        for client in self._clients:
            client.close()

    def _append(self, actor_id: str) -> None:
        library = self._library
        event = library.Event("Measured", _pack({"time_ns": time.time_ns(), "data": PAYLOAD}), [actor_id], uuid.uuid4())
        of_actor = library.Query([library.QueryItem(tags=[actor_id])])
        condition = library.AppendCondition(of_actor, self._last.get(actor_id))
        self._last[actor_id] = self._client().append([event], condition)

    async def save(self, actor_id: str, version: int) -> None:  # noqa: ARG002 - the position is the guard
        """Append, if nothing with the actor's tag came since."""
        self._append(actor_id)

    async def save_many(self, numbered: Iterable[tuple[str, int]]) -> None:
        """Append from threads, a window's worth at once."""
        loop = asyncio.get_running_loop()
        left = iter(numbered)
        while window := list(itertools.islice(left, WINDOW)):
            await asyncio.gather(*(loop.run_in_executor(self._threads, self._append, actor_id) for actor_id, _ in window))

    async def load(self, actor_id: str) -> int:
        """Read by the actor's tag."""
        query = self._library.Query([self._library.QueryItem(tags=[actor_id])])
        return sum(_unpack(held.event.data)["data"] == PAYLOAD for held in self._client().read(query))


@contextlib.asynccontextmanager
async def uma(_: Setting) -> AsyncIterator[Uma]:
    """Start UmaDB's server on a temporary directory, and end it."""
    handler = signal.getsignal(signal.SIGINT)
    import umadb  # noqa: F401, PLC0415 - optional, and it takes Ctrl-C for itself

    signal.signal(signal.SIGINT, handler)
    command = shutil.which("umadb")
    if command is None:
        raise AetherError("umadb is installed, but its command is not in PATH")
    (port,) = free_ports(1)
    with tempfile.TemporaryDirectory() as directory:
        place = ["--listen", f"127.0.0.1:{port}", "--db-path", str(Path(directory) / "uma.db")]
        nowhere = asyncio.subprocess.DEVNULL
        process = await asyncio.create_subprocess_exec(command, *place, stdout=nowhere, stderr=nowhere)
        try:
            async with asyncio.timeout(START_S):
                while not await _listens(port):  # noqa: ASYNC110 - nobody tells when it does
                    await asyncio.sleep(POLL_S)
            opened = Uma(f"http://127.0.0.1:{port}", process.pid)
            try:
                yield opened
            finally:
                opened.close()
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()


async def _listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except ConnectionError:
        return False
    writer.close()
    return True
