"""Whatever happens to the owner, no server outlives it, and its directory is free again."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
import threading
import warnings
from pathlib import Path

import nats
import pytest
from faults.stopping import stop
from processes import is_gone, owner_process, wait_until, wait_until_gone

from aether import EmbeddedServer, StoreDirectoryInUseError
from aether.nats.server_files import LOCK_FILE


def holds_lock(pid: int) -> bool:
    """Whether the process has the directory's lock file open."""
    return any(file.readlink().name == LOCK_FILE for file in Path(f"/proc/{pid}/fd").iterdir() if file.is_symlink())


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_killed_owner(number, tmp_path):
    """An owner ended by a signal it does not handle takes watchdog and server with it."""
    with owner_process(tmp_path) as owner:
        assert not is_gone(owner.server)
        owner.end(number)
        wait_until_gone(owner.server, owner.watchdog)


def test_killed_owner_of_a_temporary_directory():
    """An owner killed with -9 leaves no temporary directory behind."""
    with owner_process() as owner:
        assert Path(owner.store_dir).is_dir()
        owner.end()
        wait_until_gone(owner.server, owner.watchdog)
        assert not Path(owner.store_dir).exists()


def test_owner_that_just_exits():
    """An owner that exits without closing anything takes watchdog and server with it."""
    with owner_process(body="os._exit(0)") as owner:
        wait_until_gone(owner.server, owner.watchdog)


FORKED = """
    child = os.fork()
    if child == 0:
        while True:
            signal.pause()
    print(child, flush=True)
    await asyncio.Event().wait()
"""
COPIED = """
    child = subprocess.Popen(["sleep", "60"], pass_fds=[server.process._pipe])
    print(child.pid, flush=True)
    await asyncio.Event().wait()
"""


@pytest.mark.parametrize("body", [FORKED, COPIED], ids=["a fork of the owner", "a stray copy of the pipe"])
def test_child_outlives_the_owner(body):
    """A child of a killed owner does not keep the server alive, be it a fork or a program with a copy of the server's pipe."""
    with owner_process(body=body) as owner:
        child = int(owner.read_line())
        owner.end()
        wait_until_gone(owner.server, owner.watchdog)
        assert not is_gone(child)


def test_forked_child_does_not_own_the_server():
    """A forked child can neither stop nor kill its parent's server, and has no copy of its pipe; its exit changes nothing."""
    body = """
        pipe = os.fstat(server.process._pipe).st_ino
        child = os.fork()
        if child == 0:
            refused = 0
            for fd in os.listdir("/proc/self/fd"):
                with contextlib.suppress(FileNotFoundError):
                    refused += 100 * (os.stat(f"/proc/self/fd/{fd}").st_ino == pipe)
            for call in (server.process.start, server.process.stop, server.process.kill):
                try:
                    call()
                except Exception as error:
                    refused += "belongs to process" in str(error)
            server.process.close()
            os._exit(refused)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
        client = await nats.connect(server.url)
        await client.flush()
        await client.close()
        print(server.alive, flush=True)
    """
    with owner_process(body=body) as owner:
        assert owner.read_line() == "3"
        assert owner.read_line() == "True"


async def test_starting_thread_ends():
    """The server outlives the thread that started it, and its event loop."""
    server = EmbeddedServer()
    thread = threading.Thread(target=lambda: asyncio.run(server.start()))
    thread.start()
    await asyncio.to_thread(thread.join)
    try:
        client = await nats.connect(server.url, allow_reconnect=False)
        await client.flush()
        await client.close()
        assert server.alive
    finally:
        await server.aclose()


def test_starting_thread_blocks_signals():
    """A thread that has SIGTERM blocked starts a watchdog that has not."""
    server = EmbeddedServer()

    def start() -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
        server.process.start()

    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
    try:
        assert server.alive
        server.process._watchdog.terminate()
        wait_until_gone(server.pid)
    finally:
        server.process.close()


async def test_killed_watchdog():
    """A watchdog killed with -9 takes the server with it, the owner sees that, and can start it again."""
    async with EmbeddedServer() as server:
        first = server.pid
        os.kill(server.process._watchdog.pid, signal.SIGKILL)
        await asyncio.to_thread(wait_until_gone, first)
        assert not server.alive
        await server.start()
        assert server.alive
        assert server.pid != first


async def test_terminated_watchdog():
    """A watchdog asked to end with SIGTERM ends the server first."""
    async with EmbeddedServer() as server:
        os.kill(server.process._watchdog.pid, signal.SIGTERM)
        await asyncio.to_thread(wait_until_gone, server.pid, server.process._watchdog.pid)
        assert not server.alive


async def test_server_ends_by_itself():
    """When the server crashes the watchdog ends too, and its log says how."""
    async with EmbeddedServer() as server:
        os.kill(server.pid, signal.SIGSEGV)
        await asyncio.to_thread(wait_until, lambda: not server.alive, "the watchdog's end")
        assert "ended by itself" in (server.store_dir / "nats-server.log").read_text()


def test_ctrl_c():
    """Ctrl-C in a terminal reaches the owner only: it can still use the server while it closes, then both end."""
    body = """
        try:
            await asyncio.Event().wait()
        finally:
            client = await nats.connect(server.url, allow_reconnect=False)
            await client.flush()
            await client.close()
            print("served", flush=True)
    """
    with owner_process(body=body) as owner:
        os.killpg(owner.pid, signal.SIGINT)
        assert owner.read_line() == "served"
        wait_until_gone(owner.server, owner.watchdog, owner.pid)


@pytest.mark.parametrize("action", ["always", "error"])
async def test_forgotten_server(action, monkeypatch):
    """A server that is dropped without being closed ends, with a ResourceWarning, even where warnings are errors."""
    server = EmbeddedServer()
    await server.start()
    pid = server.pid
    await asyncio.get_running_loop().shutdown_default_executor()  # the thread that started it may still be letting go of it
    told = []
    # As text: the error itself holds on to the server.
    monkeypatch.setattr(sys, "unraisablehook", lambda raised: told.append(repr(raised.exc_value)))
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter(action)
        del server
        gc.collect()
    told += [repr(warning.message) for warning in seen]
    assert any(one.startswith("ResourceWarning(") and "was never closed" in one for one in told)
    wait_until_gone(pid)


@pytest.mark.timeout(120)
async def test_second_owner(tmp_path):
    """A second owner is refused, without waiting, and told who the first one is; when that has ended, the directory is free."""
    with owner_process(tmp_path) as owner:
        with pytest.raises(StoreDirectoryInUseError, match=f"in use by process {owner.pid}") as refusal:
            await EmbeddedServer(tmp_path, timeout_s=240).start()
        assert (refusal.value.directory, refusal.value.owner_pid) == (str(tmp_path), owner.pid)
        assert not is_gone(owner.server)
        owner.end(signal.SIGTERM)
        async with EmbeddedServer(tmp_path) as server:
            assert server.alive


async def test_lock_lives_with_the_server(tmp_path):
    """Watchdog and server hold the lock themselves, the owner does not: it is free when both are gone, and not before."""
    async with EmbeddedServer(tmp_path) as server:
        assert [holds_lock(pid) for pid in (server.pid, server.process._watchdog.pid, os.getpid())] == [True, True, False]


async def test_second_owner_in_the_same_process(tmp_path):
    """Two servers of one process cannot share a directory either."""
    async with EmbeddedServer(tmp_path) as first:
        with pytest.raises(StoreDirectoryInUseError) as refusal:
            await EmbeddedServer(tmp_path).start()
        assert refusal.value.owner_pid == os.getpid()
        assert first.alive


async def test_start_at_once_after_a_kill(tmp_path):
    """The directory of an owner killed with -9 can be opened at once, even before its parent has collected it."""
    for _ in range(3):
        with owner_process(tmp_path) as owner:
            owner.process.send_signal(signal.SIGKILL)
            await asyncio.to_thread(wait_until_gone, owner.pid)
            async with EmbeddedServer(tmp_path) as server:
                assert server.alive


async def test_start_waits_for_a_dying_server(tmp_path):
    """The new owner waits for a server that is slow to end, rather than be refused or write beside it."""
    with owner_process(tmp_path, timeout_s=3.0) as owner:
        await stop(owner.server)
        owner.end()
        async with EmbeddedServer(tmp_path) as server:
            assert is_gone(owner.server)
            assert server.alive
