"""A TCP proxy in front of a nats-server that understands the protocol well enough to harm it on purpose."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
from typing import TYPE_CHECKING, NamedTuple

from faults.relay import LINGER_NONE, READ_BYTES, Relay, until_one_ends

if TYPE_CHECKING:
    from collections.abc import Callable

_SIZED = re.compile(rb"H?(?:PUB|MSG) [^\r]*?(\d+)$")


class Frame(NamedTuple):
    """One message of the NATS protocol.

    Attributes:
        line: its first line without CR LF, as "MSG subject 1 28".
        body: headers and payload, b"" where it has none.
    """

    line: bytes
    body: bytes

    @property
    def subject(self) -> str:
        """Where it is published or delivered to, "" for others."""
        words = self.line.split()
        return words[1].decode() if len(words) > 1 else ""

    @property
    def raw(self) -> bytes:
        """The frame as it travels."""
        return self.line + b"\r\n" + (self.body + b"\r\n" if _SIZED.match(self.line) else b"")


def is_ack(frame: Frame) -> bool:
    """Whether a frame from the server acknowledges a stored message."""
    return frame.line.startswith((b"MSG", b"HMSG")) and b'{"stream":' in frame.body and b'"seq":' in frame.body


def is_event(frame: Frame) -> bool:
    """Whether a frame from the client publishes to an event subject."""
    return frame.line.startswith(b"HPUB aether.")


def every_nth(n: int, what: Callable[[Frame], bool]) -> Callable[[Frame], bool]:
    """Choose each n-th of the frames for which `what` holds."""
    count = 0

    def choose(frame: Frame) -> bool:
        nonlocal count
        count += what(frame)
        return what(frame) and count % n == 0

    return choose


def nothing(_: Frame) -> bool:
    """Lose nothing."""
    return False


class Proxy(Relay):
    """Forwards every connection to the server; what it does beside that can be changed at any time.

    Attributes:
        lose_from_server: frames from the server for which it holds are dropped.
        lose_from_client: frames from the client for which it holds are dropped.
        double: frames from the client for which it holds are sent twice.
        delay_s: how long every frame is kept, in seconds.
        silent: connections stay up and nothing passes in either direction.
        lost: how many frames were dropped.
    """

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.lose_from_server: Callable[[Frame], bool] = nothing
        self.lose_from_client: Callable[[Frame], bool] = nothing
        self.double: Callable[[Frame], bool] = nothing
        self.delay_s = 0.0
        self.lost = 0
        self._open = asyncio.Event()
        self._open.set()
        self._writers: set[asyncio.StreamWriter] = set()

    async def __aexit__(self, *error: object) -> None:
        self.cut()
        await super().__aexit__(*error)

    @property
    def silent(self) -> bool:
        """Whether nothing passes."""
        return not self._open.is_set()

    @silent.setter
    def silent(self, silent: bool) -> None:
        (self._open.clear if silent else self._open.set)()

    def cut(self) -> None:
        """End every connection in good order."""
        for writer in list(self._writers):
            writer.close()

    def reset(self) -> None:
        """End every connection with a TCP reset."""
        for writer in list(self._writers):
            raw = writer.get_extra_info("socket")
            if raw.fileno() >= 0:  # one that ended just now needs no reset
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_NONE)
            writer.transport.abort()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            server_reader, server_writer = await asyncio.open_connection(*self._target)
        except ConnectionError:
            return
        both = {writer, server_writer}
        self._writers |= both
        try:
            await until_one_ends(
                self._pump(reader, server_writer, from_client=True), self._pump(server_reader, writer, from_client=False)
            )
        finally:
            self._writers -= both
            server_writer.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, from_client: bool) -> None:
        buffer = bytearray()
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(READ_BYTES):
                buffer += data
                for frame in _frames(buffer):
                    await self._open.wait()
                    if self.delay_s:
                        await asyncio.sleep(self.delay_s)
                    if (self.lose_from_client if from_client else self.lose_from_server)(frame):
                        self.lost += 1
                        continue
                    writer.write(frame.raw * (2 if from_client and self.double(frame) else 1))
                await writer.drain()


def _frames(buffer: bytearray) -> list[Frame]:
    """Take all whole frames off the buffer."""
    frames = []
    while (end := buffer.find(b"\r\n")) >= 0:
        line = bytes(buffer[:end])
        sized = _SIZED.match(line)
        size = int(sized[1]) if sized else 0
        total = end + 2 + (size + 2 if sized else 0)
        if len(buffer) < total:
            break
        frames.append(Frame(line, bytes(buffer[end + 2 : end + 2 + size])))
        del buffer[:total]
    return frames
