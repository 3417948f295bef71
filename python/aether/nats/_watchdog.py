"""Ends the embedded nats-server when its owner is gone, however the owner went.

A process killed with -9 runs no exit handler, and PR_SET_PDEATHSIG asked for by the owner would fire as soon as the *thread*
that started the server ends. What the kernel does for every process is to close its pipes. So the owner starts this program,
which starts nats-server as its own child and waits for the read end of a pipe, on its standard input, to close. It has one
thread, so here PR_SET_PDEATHSIG means what it says: killing the watchdog ends the server too.

It is run as a file by a bare interpreter (`python -I -S`): standard library only, nothing of Aether, a start of milliseconds.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

STOP = b"s"
"""The owner's order to end the server and keep a temporary directory; the end of the pipe means to remove that as well."""
KILL = b"k"
"""The owner's order to end the server with SIGKILL."""

ENDED_AS_TOLD = 0
KILLED_AFTER_GRACE = 3
ENDED_BY_ITSELF = 4
NOT_STARTED = 5

OWNER_CHECK_S = 1.0
"""How often the parent's id is compared: a second sign of death, should a stray copy of the pipe be open somewhere."""

_PR_SET_PDEATHSIG = 1


def main(owner: int, lock: int, grace_s: float, scratch: str, command: list[str]) -> int:
    """Run the server until the owner says stop, goes away, or the server ends.

    Args:
        owner: the process id of the owner, our parent.
        lock: the descriptor whose lock on the directory shall live as long as the server.
        grace_s: what the server gets between SIGTERM and SIGKILL, in seconds.
        scratch: a temporary directory to remove with the owner, or "".
        command: the server's command line.

    Returns:
        One of the codes above, for the owner.
    """
    # The owner's thread may have had signals blocked, and a mask is inherited.
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    wake = _wake_on_signals()
    try:
        server = subprocess.Popen(  # noqa: S603 - the owner's own command line
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            pass_fds=(lock,),
            cwd="/",
            preexec_fn=_end_with_parent(),  # noqa: PLW1509 - safe here, there is one thread
        )
    except OSError as error:
        _report(f"error {error.strerror}")
        return NOT_STARTED
    _report(str(server.pid))
    order = _wait_for_order(server, owner, wake)
    if order is None:
        sys.stderr.write(f"nats-server ended by itself, status {server.returncode}\n")
        return ENDED_BY_ITSELF
    code = _end(server, 0.0 if order == KILL else grace_s)
    if order == b"" and scratch:
        import shutil  # noqa: PLC0415 - slow to import and rarely needed

        # Nobody is left to tell an error to, and what stays behind is in the system's temporary directory.
        shutil.rmtree(scratch, ignore_errors=True)
    return ENDED_AS_TOLD if order == KILL else code


def _wake_on_signals() -> int:
    """Return a descriptor that becomes readable when the server ends or somebody ends us."""
    readable, writable = os.pipe()
    os.set_blocking(writable, False)
    signal.set_wakeup_fd(writable)
    for number in (signal.SIGCHLD, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    return readable


def _end_with_parent() -> Callable[[], None] | None:
    """Return what the server's process does before exec, so that it ends with this one."""
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None).prctl
    parent = os.getpid()

    def ask() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)

    return ask


def _report(line: str) -> None:
    # A closed pipe means that the owner is gone, which the loop sees as well.
    with contextlib.suppress(BrokenPipeError):
        os.write(1, f"{line}\n".encode())
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _wait_for_order(server: subprocess.Popen[bytes], owner: int, wake: int) -> bytes | None:
    """Return the owner's order, b"" when the owner is gone, None when the server ended by itself."""
    while server.poll() is None:
        ready, _, _ = select.select([0, wake], [], [], OWNER_CHECK_S)
        if 0 in ready:
            return os.read(0, 1)
        if wake in ready and signal.SIGTERM in os.read(wake, 64):
            return STOP
        if os.getppid() != owner:
            return b""
    return None


def _end(server: subprocess.Popen[bytes], grace_s: float) -> int:
    if grace_s > 0:
        server.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(grace_s)
            return ENDED_AS_TOLD
    server.kill()
    server.wait()
    return KILLED_AFTER_GRACE


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), sys.argv[4], sys.argv[5:]))
