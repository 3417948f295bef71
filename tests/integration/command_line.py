"""The real command in a process of its own."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any, NamedTuple

import msgpack
import warm_commands
from faults.dump import stock_client
from nats.js.api import AckPolicy, ConsumerConfig
from processes import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator


TIMEOUT_S = 1800.0
"""For an import of a million events on a machine that others use too; a test ends sooner, by its own time limit."""


class Result(NamedTuple):
    """What a command came to."""

    code: int
    out: str
    err: str

    @property
    def told(self) -> dict[str, Any]:
        """The one JSON object on stdout."""
        parsed: dict[str, Any] = json.loads(self.out)
        return parsed


def environment() -> dict[str, str]:
    """Return this process's environment without what would change the command's defaults."""
    return {name: value for name, value in os.environ.items() if not name.startswith("AETHER_") or name == "AETHER_TEST_RUN"}


def aether(*arguments: str, stdin: bytes = b"", program: str | None = None) -> Result:
    """Run a command to its end; whatever it comes to, there is no traceback.

    Args:
        arguments: what is typed.
        stdin: its input.
        program: Python code to run in place of `-m aether`, for what has to be broken first.
    """
    code, out, err = _started_fast(arguments, stdin, program) or _started(arguments, stdin, program)
    result = Result(code, out.decode(), err.decode())
    assert "Traceback" not in result.err, result.err
    return result


def _started_fast(arguments: tuple[str, ...], stdin: bytes, program: str | None) -> tuple[int, bytes, bytes] | None:
    # Only WebSocket needs what tests/lean leaves out of the process that commands are forked from.
    if warm_commands.warm is None or program is not None or any("://" in one and one.startswith("ws") for one in arguments):
        return None
    return warm_commands.warm.run(arguments, stdin, environment(), TIMEOUT_S)


def _started(arguments: tuple[str, ...], stdin: bytes, program: str | None) -> tuple[int, bytes, bytes]:
    start = ["-m", "aether"] if program is None else ["-c", program]
    done = subprocess.run(
        [sys.executable, *start, *arguments], input=stdin, capture_output=True, timeout=TIMEOUT_S, check=False, env=environment()
    )
    return done.returncode, done.stdout, done.stderr


class Running:
    """A command that runs, with what it has printed so far."""

    def __init__(self, process: subprocess.Popen[bytes], *, heard: bool) -> None:
        self.process = process
        self._printed = {"out": b"", "err": b""}
        pipes = {"out": process.stdout, "err": process.stderr} if heard else {"err": process.stderr}
        self._readers = [threading.Thread(target=self._read, args=pipe) for pipe in pipes.items()]
        for reader in self._readers:
            reader.start()

    def _read(self, name: str, pipe: Any) -> None:
        with pipe:
            while chunk := os.read(pipe.fileno(), 65_536):
                self._printed[name] += chunk

    @property
    def out(self) -> str:
        """What is on stdout so far."""
        return self._printed["out"].decode()

    @property
    def err(self) -> str:
        """What is on stderr so far."""
        return self._printed["err"].decode()

    def wait_for(self, text: str) -> None:
        """Wait until it has printed a text anywhere."""
        wait_until(lambda: text in self.out or text in self.err or self.process.poll() is not None, f"the output {text!r}")
        assert text in self.out + self.err, self.out + self.err

    def type(self, data: bytes) -> None:
        """Write to its stdin."""
        assert self.process.stdin is not None
        self.process.stdin.write(data)
        self.process.stdin.flush()

    def end(self) -> Result:
        """Wait for its end."""
        code = self.process.wait(TIMEOUT_S)
        for reader in self._readers:
            reader.join(TIMEOUT_S)
        with contextlib.suppress(BrokenPipeError):
            if self.process.stdin is not None:
                self.process.stdin.close()
        assert "Traceback" not in self.err, self.err
        return Result(code, self.out, self.err)


@contextlib.contextmanager
def running(*arguments: str, heard: bool = True) -> Iterator[Running]:
    """Run a command beside the test; it is killed if the test leaves it behind.

    Args:
        arguments: what is typed.
        heard: whether its stdout is read here; otherwise the test does that.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", "aether", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
    )
    started = Running(process, heard=heard)
    try:
        yield started
    finally:
        process.kill()
        started.end()


async def stock_dump(url: str, namespace: str) -> list[dict[str, Any]]:
    """Read a namespace's commits with nats-py and msgpack alone, by position, and say where each lies; no records of epochs."""
    name = f"AETHER-EVENTS-{namespace}"
    async with stock_client(url) as client:
        stream = client.jetstream()
        left = (await stream.stream_info(name)).state.messages
        pull = await stream.pull_subscribe("", stream=name, config=ConsumerConfig(ack_policy=AckPolicy.NONE, mem_storage=True))
        commits: list[dict[str, Any]] = []
        while left:
            for message in await pull.fetch(min(left, 500), timeout=60):
                if not message.subject.endswith(".=epoch"):
                    commits.append({"position": message.metadata.sequence.stream, **msgpack.unpackb(message.data)})
                left -= 1
        return commits
