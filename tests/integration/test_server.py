"""The embedded server serves: its data, ports and settings, and what it says when it cannot."""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
import urllib.request
from pathlib import Path

import nats
import pytest
from faults.stopping import stop
from processes import is_gone, owner_process, wait_until

from aether import AetherError, EmbeddedServer, ServerUnavailableError
from aether.nats.server_files import LOG_FILE

MONITORED = {"http": "127.0.0.1:-1"}


async def write(url: str, *bodies: bytes) -> None:
    """Store messages with the stock client, each acked."""
    client = await nats.connect(url, allow_reconnect=False)
    try:
        stream = client.jetstream()
        await stream.add_stream(name="KEPT", subjects=["kept"])
        for body in bodies:
            await stream.publish("kept", body)
    finally:
        await client.close()


async def read(url: str) -> list[bytes]:
    """Read the whole stream with the stock client."""
    client = await nats.connect(url, allow_reconnect=False)
    try:
        stream = client.jetstream()
        last = (await stream.stream_info("KEPT")).state.last_seq
        return [(await stream.get_msg("KEPT", position)).data for position in range(1, last + 1)]
    finally:
        await client.close()


def varz(server: EmbeddedServer) -> dict:
    """What the server says about itself."""
    with urllib.request.urlopen(f"{server.monitoring_url}/varz", timeout=60) as answer:
        return json.load(answer)


async def test_data_is_kept_between_runs(tmp_path):
    """What was acked before a close is there when the directory is opened again."""
    async with EmbeddedServer(tmp_path / "new" / "store") as server:
        await write(server.url, b"1", b"2", b"3")
    async with EmbeddedServer(tmp_path / "new" / "store") as server:
        assert await read(server.url) == [b"1", b"2", b"3"]


async def test_data_survives_a_killed_owner(tmp_path):
    """What was acked before the owner was killed with -9 is there when the directory is opened again."""
    with owner_process(tmp_path) as owner:
        await write(owner.url, b"1", b"2")
        await asyncio.to_thread(owner.end)
    async with EmbeddedServer(tmp_path) as server:
        assert await read(server.url) == [b"1", b"2"]


async def test_kill_and_restart():
    """After a kill the server is restarted with its data on the same port, so that a client reconnects; closing removes all."""
    async with EmbeddedServer() as server:
        first, url, directory = server.pid, server.url, server.store_dir
        await write(url, b"1")
        client = await nats.connect(url, max_reconnect_attempts=-1, reconnect_time_wait=0.05)
        await server.kill()
        assert not server.alive
        await server.restart()
        assert (server.alive, server.url, server.store_dir) == (True, url, directory)
        assert server.pid != first
        await asyncio.to_thread(wait_until, lambda: client.is_connected, "a reconnect")
        assert await read(url) == [b"1"]
        await client.close()
    assert not server.alive
    assert not directory.exists()


async def test_restart_of_a_running_server():
    """Restarting a server that runs ends it first and keeps its data."""
    async with EmbeddedServer() as server:
        await write(server.url, b"1")
        first, url = server.pid, server.url
        await server.restart()
        assert server.pid != first
        assert await read(url) == [b"1"]


async def test_start_and_close_twice():
    """Starting a server that runs and closing one that is closed do nothing."""
    server = EmbeddedServer()
    await server.start()
    pid = server.pid
    await server.start()
    assert server.pid == pid
    await server.aclose()
    await server.aclose()
    assert not server.alive


async def test_closed_server_starts_again(tmp_path):
    """A closed server can be started again."""
    server = EmbeddedServer(tmp_path)
    for _ in range(2):
        async with server:
            assert server.alive


async def test_two_servers_at_once():
    """Two embedded servers have different ports and directories."""
    async with EmbeddedServer() as one, EmbeddedServer() as other:
        assert one.port != other.port
        assert one.store_dir != other.store_dir


async def test_url_and_port():
    """The URL is loopback, has the port and no credentials; the server listens on loopback only."""
    async with EmbeddedServer(settings=MONITORED) as server:
        assert server.url == f"nats://127.0.0.1:{server.port}"
        told = varz(server)
        assert (told["host"], told["port"]) == ("127.0.0.1", server.port)


async def test_given_port(tmp_path):
    """A given port is used; when it is taken, the error says so, and the server starts once it is free."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        server = EmbeddedServer(tmp_path, port=port)
        with pytest.raises(ServerUnavailableError, match=f"port {port} is taken by another program") as refusal:
            await server.start()
        assert "listen" in refusal.value.reason
    async with server:
        assert server.url == f"nats://127.0.0.1:{port}"


@pytest.mark.parametrize(
    ("sync", "words", "always", "interval_ns"),
    [
        ("always", "always", True, 120_000_000_000),
        (120, "every 120 s", False, 120_000_000_000),
        (0.25, "every 0.25 s", False, 250_000_000),
    ],
)
async def test_sync_is_in_force(sync, words, always, interval_ns):
    """The server itself reports the sync policy that was asked for."""
    async with EmbeddedServer(sync=sync, settings=MONITORED) as server:
        config = varz(server)["jetstream"]["config"]
        assert server.sync == words
        assert config.get("sync_always", False) is always
        assert config["sync_interval"] == interval_ns


async def test_settings_are_merged():
    """Further settings reach the server beside our own."""
    settings = {**MONITORED, "max_payload": 2048, "jetstream": {"max_file_store": 10_000_000}}
    async with EmbeddedServer(settings=settings) as server:
        told = varz(server)
        assert told["max_payload"] == 2048
        assert told["jetstream"]["config"]["max_storage"] == 10_000_000
        assert told["jetstream"]["config"]["sync_always"] is True


async def test_jetstream_can_be_off():
    """`settings` can switch JetStream off, for tests of what happens without it."""
    async with EmbeddedServer(settings={**MONITORED, "jetstream": "disabled"}) as server:
        assert varz(server)["jetstream"].get("config") is None


@pytest.mark.parametrize("name", ["da ta", 'naïve "quoted"', "a$b", "back\\slash", "new\nline", "-dash", "#hash"])
async def test_directory_names(name, tmp_path):
    """Any name that the file system takes can be a store directory."""
    async with EmbeddedServer(tmp_path / name) as server:
        await write(server.url, b"1")
    assert (tmp_path / name / "jetstream").is_dir()


async def test_relative_directory(tmp_path, monkeypatch):
    """A relative directory is meant from where the server object was made, wherever the process goes later."""
    monkeypatch.chdir(tmp_path)
    server = EmbeddedServer("store")
    monkeypatch.chdir("/")
    async with server:
        assert server.store_dir == tmp_path / "store"


async def test_readable_by_the_owner_only(tmp_path):
    """A directory that the server makes is closed to other users."""
    async with EmbeddedServer(tmp_path / "store") as server:
        assert server.store_dir.stat().st_mode & 0o077 == 0


def file_at(path: Path) -> Path:
    """Put a file where a directory should be."""
    path.write_text("in the way")
    return path


@pytest.mark.parametrize(
    "place", [lambda tmp: file_at(tmp / "file"), lambda tmp: file_at(tmp / "file") / "below", lambda _: Path("/proc/store")]
)
async def test_bad_directory(place, tmp_path):
    """A directory that cannot be made or written to is refused with its name and what to do."""
    directory = place(tmp_path)
    with pytest.raises(ServerUnavailableError, match="name one that this user may create and write to") as refusal:
        await EmbeddedServer(directory).start()
    assert refusal.value.url == f"embedded:{directory}"


async def test_damaged_store(tmp_path):
    """A store that nats-server cannot open is refused with the server's own words, and the directory is left as it was."""
    in_the_way = file_at(tmp_path / "jetstream")
    with pytest.raises(ServerUnavailableError, match="ended while it was starting") as refusal:
        await EmbeddedServer(tmp_path).start()
    assert "storage directory" in refusal.value.reason
    assert str(tmp_path / LOG_FILE) in refusal.value.reason
    assert in_the_way.read_text() == "in the way"


async def test_unknown_setting(tmp_path):
    """Settings that nats-server does not understand are refused with the server's own words."""
    with pytest.raises(ServerUnavailableError, match="max_paylod"):
        await EmbeddedServer(tmp_path, settings={"max_paylod": 1}).start()


async def test_failed_first_start_leaves_no_temporary_directory():
    """A temporary directory does not outlive a start that failed."""
    server = EmbeddedServer(settings={"max_paylod": 1})
    with pytest.raises(ServerUnavailableError) as refusal:
        await server.start()
    assert server.store_dir is None
    log = Path(refusal.value.reason.partition("log (")[2].partition(")")[0])
    assert log.name == LOG_FILE
    assert not log.parent.exists()


async def test_directory_removed_while_it_runs(tmp_path):
    """Closing a server whose directory somebody has removed is no error, for a temporary directory and a given one."""
    for store_dir in (None, tmp_path / "store"):
        server = EmbeddedServer(store_dir)
        await server.start()
        pid, directory = server.pid, server.store_dir
        await asyncio.to_thread(shutil.rmtree, directory)
        await server.aclose()
        assert is_gone(pid)


async def test_log_of_this_start_only(tmp_path):
    """What an error quotes from the log is of this start, not of an earlier one."""
    with pytest.raises(ServerUnavailableError, match="first_mistake"):
        await EmbeddedServer(tmp_path, settings={"first_mistake": 1}).start()
    with pytest.raises(ServerUnavailableError, match="second_mistake") as refusal:
        await EmbeddedServer(tmp_path, settings={"second_mistake": 1}).start()
    assert "first_mistake" not in refusal.value.reason


async def test_server_that_does_not_end(tmp_path):
    """A server that ignores the request to end is killed after the deadline, the error says so, and its data is there."""
    server = EmbeddedServer(tmp_path, timeout_s=3.0)
    await server.start()
    await write(server.url, b"1")
    await stop(server.pid)
    with pytest.raises(ServerUnavailableError, match="did not end within 3 s and was killed"):
        await server.aclose()
    assert not server.alive
    async with server:
        assert await read(server.url) == [b"1"]


async def test_watchdog_that_does_not_end(tmp_path, monkeypatch):
    """Closing has a deadline even when the watchdog itself hangs, and the server still ends."""
    monkeypatch.setattr("aether.nats.server_process.WATCHDOG_EXTRA_S", 0.1)
    server = EmbeddedServer(tmp_path, timeout_s=3.0)
    await server.start()
    await stop(server.process._watchdog.pid)
    with pytest.raises(ServerUnavailableError, match="was killed"):
        await server.aclose()
    async with EmbeddedServer(tmp_path) as again:
        assert again.alive


async def test_concurrent_starts():
    """Many starts at once, from many threads, make one server."""
    server = EmbeddedServer()
    await asyncio.gather(*(server.start() for _ in range(8)))
    try:
        assert server.alive
        assert (server.store_dir / LOG_FILE).read_text().count("Server is ready") == 1
    finally:
        await server.aclose()


async def test_url_before_start():
    """A server that was never started has no URL, and says what to do."""
    server = EmbeddedServer()
    with pytest.raises(AetherError, match=r"await start\(\)"):
        _ = server.url
    assert "not running" in repr(server)


async def test_no_monitoring_unless_asked():
    """Without an "http" setting there is no monitoring port, and the error names the setting."""
    async with EmbeddedServer() as server:
        with pytest.raises(AetherError, match="http"):
            _ = server.monitoring_url
        assert server.url in repr(server)
