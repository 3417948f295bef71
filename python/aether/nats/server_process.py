"""The life of an embedded nats-server: started, waited for, stopped and killed by plain blocking calls.

Nothing here is bound to an event loop or to the thread that calls it: `EmbeddedServer` runs these calls in threads, and test
fixtures call them directly.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import warnings
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from aether.errors import AetherError, ServerUnavailableError
from aether.nats import _watchdog, server_files

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["ServerProcess"]

READY_POLL_S = 0.005
WATCHDOG_EXTRA_S = 5.0
"""What the watchdog gets beyond the server's own grace before it is killed, and the server with it."""


class ServerProcess:
    """One nats-server on one directory, owned by this process.

    Args:
        directory: where its data lies, or None for a temporary directory that is removed by `close`.
        sync: "always", or the interval of syncs in seconds.
        port: the port on 127.0.0.1, or 0 for a free one, which is then kept over restarts.
        timeout_s: how long it may take to start, and to end before it is killed, in seconds each.
        settings: further nats-server configuration.
    """

    def __init__(
        self, directory: Path | None, *, sync: str | float, port: int, timeout_s: float, settings: Mapping[str, Any]
    ) -> None:
        self._pipe = -1  # first, for __del__ of an object that was refused
        self.directory = directory
        self.port = port
        self.timeout_s = timeout_s
        self.sync = server_files.describe_sync(sync)
        self.pid = 0
        self.ports: dict[str, list[str]] = {}
        self._sync = sync
        self._settings = dict(settings)
        server_files.server_settings(sync, port, self._settings)
        self._temporary = directory is None
        self._lock = threading.RLock()
        self._watchdog: subprocess.Popen[bytes] | None = None
        self._directory_lock = -1
        self._log_start = 0
        self._owner = os.getpid()
        _PROCESSES.add(self)

    @property
    def alive(self) -> bool:
        """Whether the server's process runs; False in a forked child, which does not own it."""
        return self._pipe >= 0 and self._watchdog is not None and self._watchdog.poll() is None

    @property
    def name(self) -> str:
        """The URL that stands for this server in messages."""
        return "embedded:" if self._temporary or self.directory is None else f"embedded:{self.directory}"

    def start(self, abandon: threading.Event | None = None) -> None:
        """Start the server and return when it accepts clients; nothing if it runs already.

        Args:
            abandon: set by another thread that does not want the server any more.

        Raises:
            StoreDirectoryInUseError: another process owns a server on this directory.
            ServerUnavailableError: it does not start; the message has the end of its log.
            MissingExtraError: there is no nats-server.
        """
        self._refuse_fork()
        with self._lock:
            if self.alive:
                return
            self._end(_watchdog.STOP)
            binary = server_files.find_binary()
            deadline = time.monotonic() + self.timeout_s
            empty = self.directory is None
            directory = self._prepare()
            try:
                try:
                    self._launch(binary, directory)
                finally:
                    self._release_lock()  # the watchdog and the server hold it from here on
                self._await_ready(directory, deadline, abandon or threading.Event())
            except BaseException:
                with contextlib.suppress(ServerUnavailableError):  # the failed start is what is told
                    self._end(_watchdog.STOP)
                if empty:
                    self._remove_temporary()
                raise

    def stop(self) -> None:
        """End the server and keep its data, its directory and its port.

        Raises:
            ServerUnavailableError: it had to be killed. Everything it had acked is in its files all the same.
        """
        self._refuse_fork()
        with self._lock:
            self._end(_watchdog.STOP)

    def kill(self) -> None:
        """End the server with SIGKILL, as a crash would."""
        self._refuse_fork()
        with self._lock:
            self._end(_watchdog.KILL)

    def close(self) -> None:
        """End the server and remove a temporary directory; a forked child of the owner has nothing to close.

        Raises:
            ServerUnavailableError: as `stop`.
        """
        if self._owner != os.getpid():
            return
        with self._lock:
            try:
                self._end(_watchdog.STOP)
            finally:
                if self._temporary:
                    self._remove_temporary()

    def _refuse_fork(self) -> None:
        if self._owner != os.getpid():
            raise AetherError(
                f"this embedded server belongs to process {self._owner}; in process {os.getpid()} connect to it by its URL"
            )

    def _prepare(self) -> Path:
        """Make, lock and fill the directory."""
        try:
            if self.directory is None:
                self.directory = Path(tempfile.mkdtemp(prefix="aether-"))
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._directory_lock = server_files.lock_directory(self.directory, self.timeout_s)
            server_files.clear_ports(self.directory)
            server_files.write_settings(self.directory, server_files.server_settings(self._sync, self.port, self._settings))
        except OSError as error:
            self._release_lock()
            raise ServerUnavailableError(
                self.name, f"cannot use the directory: {error.strerror}; name one that this user may create and write to"
            ) from error
        return self.directory

    def _launch(self, binary: str, directory: Path) -> None:
        """Start the watchdog, which starts the server, and take the server's process id."""
        log = directory / server_files.LOG_FILE
        command = [binary, "-c", str(directory / server_files.SETTINGS_FILE), "-sd", str(directory)]
        command += ["--ports_file_dir", str(directory), "-l", str(log)]
        scratch = str(directory) if self._temporary else ""
        orders = [str(os.getpid()), str(self._directory_lock), str(self.timeout_s), scratch]
        self.pid = 0
        readable, self._pipe = os.pipe()
        with contextlib.ExitStack() as opened:
            opened.callback(os.close, readable)
            errors = opened.enter_context(log.open("ab"))
            self._log_start = errors.tell()
            try:
                self._watchdog = subprocess.Popen(  # noqa: S603 - our own file, run by the interpreter that runs us
                    [sys.executable, "-I", "-S", _watchdog.__file__, *orders, *command],
                    stdin=readable,
                    stdout=subprocess.PIPE,
                    stderr=errors,
                    bufsize=0,
                    pass_fds=(self._directory_lock,),
                    cwd="/",
                    # A session of its own: Ctrl-C in a terminal goes to the owner, who then closes in order.
                    start_new_session=True,
                )
            except OSError as error:
                raise self._failure(f"{sys.executable!r} cannot be run as its watchdog: {error.strerror}") from error
        report = self._watchdog.stdout
        if report is None:
            raise AssertionError("stdout is a pipe")
        with report:
            readable_now, _, _ = select.select([report], [], [], self.timeout_s)
            line = report.readline().decode() if readable_now else ""
        if not line.strip().isdigit():
            cause = line.removeprefix("error").strip() or "its watchdog did not start"
            raise self._failure(f"{binary} cannot be run: {cause}")
        self.pid = int(line)

    def _await_ready(self, directory: Path, deadline: float, abandon: threading.Event) -> None:
        """Wait for the file in which the server tells its ports: it writes that when it listens."""
        while True:
            ports = server_files.read_ports(directory, self.pid)
            if ports is not None:
                break
            if not self.alive:
                raise self._failure("nats-server ended while it was starting")
            if time.monotonic() > deadline:
                raise self._failure(
                    f"nats-server was not ready within {self.timeout_s:g} s; a large store needs longer, allow it with timeout_s="
                )
            if abandon.wait(READY_POLL_S):
                raise self._failure("nobody waits for the server any more")
        self.ports = ports
        self.port = urlsplit(ports["nats"][0]).port or 0

    def _failure(self, what: str) -> ServerUnavailableError:
        directory = self.directory or Path()
        if self.port and _is_taken(self.port):
            what += f"; port {self.port} is taken by another program, name another or 0 for a free one"
        log = directory / server_files.LOG_FILE
        return ServerUnavailableError(
            self.name, f"{what}; the end of its log ({log}):{server_files.log_end(directory, self._log_start)}"
        )

    def _remove_temporary(self) -> None:
        if self.directory is not None:
            with contextlib.suppress(FileNotFoundError):  # somebody was faster
                shutil.rmtree(self.directory)
            self.directory = None

    def _end(self, order: bytes) -> None:
        """Give the watchdog an order and wait until it and the server are gone; nothing if there is none."""
        watchdog, self._watchdog = self._watchdog, None
        if watchdog is None or self.directory is None:
            self._close_pipe()
            return
        with contextlib.suppress(BrokenPipeError):  # the watchdog is gone already, and the server with it
            os.write(self._pipe, order)
        try:
            code = watchdog.wait(self.timeout_s + WATCHDOG_EXTRA_S)
        except subprocess.TimeoutExpired:
            if self.pid:
                os.kill(self.pid, signal.SIGKILL)  # the watchdog is its parent, so the number cannot be another's yet
            watchdog.kill()
            watchdog.wait()
            code = _watchdog.KILLED_AFTER_GRACE
        self._close_pipe()
        # A watchdog that was itself killed has not waited for the server's end; the lock tells it.
        server_files.wait_until_unlocked(self.directory, self.timeout_s)
        if code == _watchdog.KILLED_AFTER_GRACE:
            raise ServerUnavailableError(
                self.name,
                f"nats-server did not end within {self.timeout_s:g} s and was killed; what it had acked is in its files",
            )

    def _release_lock(self) -> None:
        if self._directory_lock >= 0:
            os.close(self._directory_lock)
            self._directory_lock = -1

    def _close_pipe(self) -> None:
        if self._pipe >= 0:
            os.close(self._pipe)
            self._pipe = -1

    def _disown(self) -> None:
        """In a forked child: close the copies that would keep pipe and lock open, and never touch a lock held in the parent."""
        self._lock = threading.RLock()
        self._close_pipe()
        self._release_lock()

    def __del__(self) -> None:
        if self._pipe >= 0:
            self._close_pipe()  # first: where warnings are errors, the server must end too
            warnings.warn(f"{self.name} was never closed; use async with, or await aclose()", ResourceWarning, stacklevel=2)


def _is_taken(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            return error.errno == errno.EADDRINUSE
    return False


_PROCESSES: weakref.WeakSet[ServerProcess] = weakref.WeakSet()


def _disown_all() -> None:
    for process in _PROCESSES:
        process._disown()  # noqa: SLF001 - the same module


os.register_at_fork(after_in_child=_disown_all)
