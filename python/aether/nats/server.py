"""A real nats-server owned by this process, and the URL "embedded:DIR" that stands for one."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from aether.errors import AetherError
from aether.nats.server_process import ServerProcess

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping
    from types import TracebackType
    from typing import Self

__all__ = ["EmbeddedServer", "parse_embedded_url"]

SCHEME = "embedded:"


def parse_embedded_url(url: str) -> Path | None:
    """Return the directory of an "embedded:DIR" URL, or None for a URL of another kind.

    DIR is a path as the shell knows it, relative or absolute, taken as it stands; a leading "~" is the home directory.

    Raises:
        ValueError: no directory, or slashes as in "embedded://DIR".
    """
    if not url.startswith(SCHEME):
        return None
    directory = url.removeprefix(SCHEME)
    if not directory:
        raise ValueError(f'"{url}" names no directory; type embedded:DIR, as in embedded:./data')
    if directory.startswith("//"):
        raise ValueError(f'"{url}" has slashes before the directory; type embedded:./data or embedded:/var/data')
    if "\0" in directory:
        raise ValueError(f"{url!r}: a directory's name has no NUL character")
    return Path(directory).expanduser()


class EmbeddedServer:
    r"""A nats-server with JetStream that this process owns: it listens on loopback only and never outlives its owner.

    Its data is kept in `store_dir` from run to run. When the owner ends, however it ends, a watchdog ends the server. The
    process is not bound to an event loop or a thread; a forked child does not own it.

    Args:
        store_dir: where its data lies; it is created if need be. None: a temporary directory, removed when the server is closed.
        sync: when acked data is on the disk itself: "always" before the ack, or an interval in seconds (0.001 to 86400), which
            is faster and may lose the last interval in a power cut; not when a process is killed.
        port: the port on 127.0.0.1; 0: a free one.
        timeout_s: how long it may take to start, and to end before it is killed, in seconds each.
        settings: further nats-server configuration, as `{"max_payload": 8 * 2**20}`; a nested mapping is merged into ours.
    """

    def __init__(
        self,
        store_dir: str | os.PathLike[str] | None = None,
        *,
        sync: Literal["always"] | float = "always",
        port: int = 0,
        timeout_s: float = 10.0,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        if not 0 <= port <= 65_535:  # noqa: PLR2004 - the ports there are
            raise ValueError(f"port must be 0 (a free one) to 65535, not {port}")
        if timeout_s <= 0:
            raise ValueError(f"timeout_s must be more than 0 seconds, not {timeout_s}")
        directory = None if store_dir is None else Path(store_dir).absolute()
        self._process = ServerProcess(directory, sync=sync, port=port, timeout_s=timeout_s, settings=settings or {})

    def __repr__(self) -> str:
        state = f"{self.url}, pid {self.pid}" if self.alive else "not running"
        return f"<EmbeddedServer {self.process.name} ({state}, sync {self.sync})>"

    @property
    def process(self) -> ServerProcess:
        """The same with plain blocking calls, for code without an event loop."""
        return self._process

    @property
    def url(self) -> str:
        """Where clients connect: "nats://127.0.0.1:PORT". It holds no credentials and stays the same over restarts.

        Raises:
            AetherError: the server was never started.
        """
        return self._port_url("nats", "started; use async with, or await start()")

    @property
    def monitoring_url(self) -> str:
        """Where the server's own figures are, as `/varz`, if `settings` has an "http" entry.

        Raises:
            AetherError: the server was never started, or has no monitoring port.
        """
        return self._port_url("monitoring", 'started with settings={"http": "127.0.0.1:-1"}')

    @property
    def port(self) -> int:
        """The port on 127.0.0.1; 0 before a start that has to find a free one."""
        return self.process.port

    @property
    def pid(self) -> int:
        """The process id of nats-server; 0 before the first start."""
        return self.process.pid

    @property
    def store_dir(self) -> Path | None:
        """The directory, absolute; None as long as a temporary one is not made."""
        return self.process.directory

    @property
    def sync(self) -> str:
        """When acked data is on the disk itself, in words: "always" or "every 120 s"."""
        return self.process.sync

    @property
    def alive(self) -> bool:
        """Whether the server's process runs now."""
        return self.process.alive

    async def start(self) -> None:
        """Start the server; on return it accepts clients. Nothing if it runs already.

        Raises:
            StoreDirectoryInUseError: another process owns a server on this directory.
            ServerUnavailableError: it does not start; the message ends with the end of its log.
            MissingExtraError: no nats-server is installed.
        """
        abandon = threading.Event()
        await self._in_thread(lambda: self.process.start(abandon), abandon)

    async def aclose(self) -> None:
        """End the server; its data stays, a temporary directory goes. Calling it again does nothing.

        Raises:
            ServerUnavailableError: it did not end within `timeout_s` and was killed; what it had acked is in its files.
        """
        await self._in_thread(self.process.close)

    async def kill(self) -> None:
        """End the server with SIGKILL, as a crash would; for tests and demonstrations."""
        await self._in_thread(self.process.kill)

    async def restart(self) -> None:
        """End the server if it runs, and start it on the same directory and port, so that clients reconnect.

        Raises:
            ServerUnavailableError: as `start`.
        """
        await self._in_thread(self.process.stop)
        await self.start()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.aclose()

    def _port_url(self, kind: str, remedy: str) -> str:
        urls = self.process.ports.get(kind)
        if not urls:
            raise AetherError(f"{self.process.name} was not {remedy}")
        return urls[0]

    async def _in_thread(self, call: Callable[[], None], abandon: threading.Event | None = None) -> None:
        """Run a blocking call beside the loop; a cancelled one is waited for, and a cancelled start is undone."""
        work = _begin(call)
        try:
            await asyncio.shield(work)
        except asyncio.CancelledError:
            if abandon is not None:
                abandon.set()
            await _settle(work)
            if abandon is not None:
                await _settle(_begin(self.process.close))
            raise


def _begin(call: Callable[[], None]) -> asyncio.Future[None]:
    """Run a blocking call in a thread of the loop's executor, or here where the interpreter ends and takes no more work."""
    loop = asyncio.get_running_loop()
    try:
        return loop.run_in_executor(None, call)
    except RuntimeError:
        done: asyncio.Future[None] = loop.create_future()
        call()
        done.set_result(None)
        return done


async def _settle(work: asyncio.Future[None]) -> None:
    """Wait until the work has ended, whatever it came to and however often the caller is cancelled; its time is bounded."""
    while not work.done():
        try:
            await asyncio.wait([work])
        except asyncio.CancelledError:
            continue
    work.exception()
