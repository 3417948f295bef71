"""Starting and closing an embedded server may be cancelled at any point: no process and no lock stays behind."""

from __future__ import annotations

import asyncio

import pytest
from processes import is_gone, wait_until

from aether import EmbeddedServer
from aether.nats.server_files import BINARY_VARIABLE


@pytest.mark.parametrize("steps", [0, 1, 5])
async def test_cancelled_start(steps, tmp_path):
    """A cancelled start leaves no server and no lock, at whatever point it is cancelled."""
    server = EmbeddedServer(tmp_path)
    task = asyncio.create_task(server.start())
    for _ in range(steps):
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not server.alive
    async with EmbeddedServer(tmp_path) as other:
        assert other.alive


async def test_start_cancelled_late(tmp_path):
    """A start cancelled when the server is ready, but its caller does not know yet, ends that server."""
    server = EmbeddedServer(tmp_path)
    task = asyncio.create_task(server.start())
    await asyncio.sleep(0)
    # This blocks the loop on purpose: the task must not hear of the start before it is cancelled.
    wait_until(lambda: bool(server.process.ports), "the server's ports")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not server.alive
    assert is_gone(server.pid)


@pytest.mark.timeout(120)
async def test_start_cancelled_while_waiting(tmp_path, monkeypatch):
    """A start that waits for a server which never gets ready ends when it is cancelled, not at its own deadline."""
    never_ready = tmp_path / "nats-server"
    never_ready.write_text("#!/bin/sh\nexec sleep 3600\n")
    never_ready.chmod(0o755)
    monkeypatch.setenv(BINARY_VARIABLE, str(never_ready))
    server = EmbeddedServer(tmp_path / "store", timeout_s=240)
    task = asyncio.create_task(server.start())
    await asyncio.to_thread(wait_until, lambda: server.pid != 0, "the server's process")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert is_gone(server.pid)


async def test_cancelled_close():
    """A cancelled close still ends the server before it returns."""
    server = EmbeddedServer()
    await server.start()
    task = asyncio.create_task(server.aclose())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert is_gone(server.pid)
