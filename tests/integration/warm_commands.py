"""Commands that start fast: forked from a process that has imported what they import.

Half a second of processor time goes into the imports of each command, and tests start hundreds. Each command is still a
process of its own, with its own arguments, input, output, environment and exit code. Where tests are not quick, commands start
as users start them.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

PARENT = """
import json, os, sys

import aether
import aether.__main__
import aether.cli.demo, aether.cli.dev, aether.cli.export, aether.cli.import_, aether.cli.repair, aether.cli.show

orders, answers = int(sys.argv[1]), int(sys.argv[2])
with open(orders, closefd=False) as lines:
    for line in iter(lines.readline, ""):
        order = json.loads(line)
        child = os.fork()
        if child == 0:
            break
        os.write(answers, b"%d\\n" % child)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        os.write(answers, b"%d\\n" % code)
    else:
        sys.exit()

os.close(orders)
os.close(answers)
for fd, path in enumerate(order["files"]):
    opened = os.open(path, os.O_RDWR)
    os.dup2(opened, fd)
    os.close(opened)
os.environ.clear()
os.environ.update(order["environment"])
os.chdir(order["directory"])
sys.argv = ["aether", *order["arguments"]]
sys.orig_argv = [sys.executable, "-m", "aether", *order["arguments"]]
sys.exit(aether.__main__.main())
"""


class WarmCommands:
    """One command at a time, each forked from the process that has imported everything."""

    def __init__(self) -> None:
        self._free = threading.Lock()
        taken, orders = os.pipe()
        answers, given = os.pipe()
        command = [sys.executable, "-c", PARENT, str(taken), str(given)]
        self._process = subprocess.Popen(command, pass_fds=(taken, given), stdin=subprocess.DEVNULL)
        os.close(taken)
        os.close(given)
        self._orders, self._answers = os.fdopen(orders, "w"), os.fdopen(answers, "rb", buffering=0)

    def run(
        self, arguments: Sequence[str], stdin: bytes, environment: Mapping[str, str], timeout_s: float
    ) -> tuple[int, bytes, bytes] | None:
        """Run a command to its end; return its exit code, stdout and stderr, or None while another one runs.

        Raises:
            subprocess.TimeoutExpired: it did not end in time, and was killed.
        """
        if not self._free.acquire(blocking=False):
            return None
        try:
            with tempfile.TemporaryDirectory() as directory:
                files = [Path(directory) / name for name in ("in", "out", "err")]
                for file, content in zip(files, (stdin, b"", b""), strict=True):
                    file.write_bytes(content)
                order = {
                    "arguments": list(arguments),
                    "files": [str(file) for file in files],
                    "environment": dict(environment),
                    "directory": str(Path.cwd()),
                }
                self._orders.write(json.dumps(order) + "\n")
                self._orders.flush()
                child = int(self._answer(timeout_s))
                try:
                    code = int(self._answer(timeout_s))
                except TimeoutError:
                    os.kill(child, signal.SIGKILL)
                    self._answer(timeout_s)
                    raise subprocess.TimeoutExpired(list(arguments), timeout_s) from None
                return code, files[1].read_bytes(), files[2].read_bytes()
        finally:
            self._free.release()

    def _answer(self, timeout_s: float) -> bytes:
        if not select.select([self._answers], [], [], timeout_s)[0]:
            raise TimeoutError
        line = b""
        while not line.endswith(b"\n"):
            byte = self._answers.read(1)
            assert byte, "the process that commands are forked from has ended"
            line += byte
        return line

    def close(self) -> None:
        """End the process that commands are forked from."""
        self._orders.close()
        self._process.wait(20)
        self._answers.close()


warm: WarmCommands | None = None
"""Where commands start in this run; None: as users start them."""


@contextlib.contextmanager
def warm_commands() -> Iterator[None]:
    """Have commands start fast."""
    global warm  # noqa: PLW0603 - set once for the whole run
    warm = WarmCommands()
    try:
        yield
    finally:
        warm.close()
        warm = None
