"""What the command line says when something is wrong: one line, with what to type next, and never a traceback."""

from __future__ import annotations

import contextlib
import errno
import importlib.metadata
import json
import os
import re
import signal
import socket
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from command_line import aether, running
from faults.dump import stock_client

from aether import EmbeddedServer
from aether.cli.faults import report_fault
from aether.testing.servers import running_server

if TYPE_CHECKING:
    from collections.abc import Iterator

SAMPLE = Path(__file__).parents[2] / "python" / "aether" / "data" / "flights-sample.ndjson.gz"
RECORD = b'{"id":"x","actor_id":"a","event_type":"T","timestamp":"2013-01-01T10:17:00Z","data":null}\n'


def told_in_one_line(*arguments: str, code: int = 1, program: str | None = None) -> str:
    """Run a command that fails; return the one line it says on stderr, which also stands in its JSON on stdout."""
    done = aether(*arguments, "--json", stdin=RECORD, program=program)
    assert done.code == code, (done.out, done.err)
    line = done.err.strip().splitlines()[-1]
    assert done.told["error"]["message"] == line.removeprefix("aether: ")
    return line


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.mark.parametrize("command", [("show", "a"), ("repair", "a"), ("import", "-"), ("import", "-", "--dry-run")])
def test_without_a_server_every_command_says_how_to_start_one(command: tuple[str, ...]) -> None:
    """The line names the URL that was tried, and `aether dev`."""
    url = f"nats://127.0.0.1:{free_port()}"
    line = told_in_one_line(*command, "--url", url, "--timeout", "1")
    assert url in line
    assert "aether dev" in line


@pytest.mark.parametrize("command", [("show", "a"), ("import", "-")])
def test_a_server_that_never_answers_is_given_up_at_the_timeout(command: tuple[str, ...]) -> None:
    """A port that accepts and stays silent does not hang a command."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        line = told_in_one_line(*command, "--url", f"nats://127.0.0.1:{silent.getsockname()[1]}", "--timeout", "1")
    assert "nats://127.0.0.1:" in line


def test_wrong_credentials_are_named_and_not_repeated() -> None:
    """The line says what to put into the URL; the password that was typed stands nowhere."""
    with running_server({"authorization": {"user": "u", "password": "right"}}) as server:
        url = server.url.replace("//", "//u:wrong@")
        line = told_in_one_line("import", "-", "--url", url)
        assert "wrong" not in line
        assert "nats://USER:PASSWORD@HOST:PORT" in line
        assert aether("import", "-", "--url", server.url.replace("//", "//u:right@"), stdin=RECORD).code == 0


def test_a_server_without_jetstream_is_told_apart() -> None:
    """The line says how to start the server with it."""
    with running_server({"jetstream": False}) as server:
        line = told_in_one_line("show", "a", "--url", server.url, "--timeout", "5")
    assert "JetStream" in line
    assert "-js" in line


async def test_a_stream_with_other_settings_is_refused_with_each_difference(nats_server: EmbeddedServer, namespace: str) -> None:
    """The line names the namespace, what differs, and that another one can be named."""
    async with stock_client(nats_server.url) as client:
        await client.jetstream().add_stream(name=f"AETHER-EVENTS-{namespace}", subjects=[f"aether.{namespace}.>"])
    line = told_in_one_line("import", "-", "--url", nats_server.url, "--namespace", namespace)
    assert f"namespace '{namespace}' does not fit" in line
    assert "deny_delete" in line
    assert "--namespace NAME" in line


def test_a_full_disk_ends_an_import_with_what_to_do(namespace: str) -> None:
    """What was stored stays and is counted, and the line says that there was no room for more."""
    with running_server({"jetstream": {"max_file_store": 300_000}}) as server:
        done = aether("import", str(SAMPLE), "--url", server.url, "--namespace", namespace, "--json")
    assert done.code == 1
    told = done.told
    assert told["error"]["type"] == "StoreFullError"
    assert "free disk space or raise the limit" in done.err
    assert 0 < told["saved"] < 5000
    assert told["stopped"] == "failed"


@contextlib.contextmanager
def directory_in_use(path: Path) -> Iterator[None]:
    """Run a server on a directory."""
    server = EmbeddedServer(path, sync=60)
    server.process.start()
    try:
        yield
    finally:
        server.process.close()


@pytest.mark.parametrize("command", [("show", "a", "--url"), ("dev", "--port", "0", "--url"), ("demo", "--url")])
def test_a_directory_in_use_names_its_owner(tmp_path: Path, command: tuple[str, ...]) -> None:
    """The line names the directory, the owning process, and the ways out."""
    with directory_in_use(tmp_path):
        line = told_in_one_line(*command, f"embedded:{tmp_path}")
    assert f"{tmp_path} is in use by process {os.getpid()}" in line
    assert "--url nats://HOST:PORT" in line


@pytest.mark.parametrize("kind", [PermissionError, FileNotFoundError])
def test_a_fault_of_the_operating_system_names_the_path(capsys: pytest.CaptureFixture[str], kind: type[OSError]) -> None:
    """What the system refuses is told with its path and its words, in one line even if the path has several."""
    assert report_fault(kind(errno.EACCES, "Permission denied", "/data/a\nb"), as_json=True) == 1
    printed = capsys.readouterr()
    message = "/data/a b: Permission denied; check the path and what you may do there"
    assert printed.err == f"aether: {message}\n"
    assert json.loads(printed.out)["error"]["message"] == message


def test_a_directory_that_cannot_be_made_is_said() -> None:
    """The line names the directory and what to do."""
    line = told_in_one_line("demo", "--dir", "/proc/nowhere/data")
    assert "/proc/nowhere/data" in line
    assert "name one that this user may create and write to" in line


USAGE = {
    "no such file": (("import", "/nowhere/x.ndjson"), "'/nowhere/x.ndjson' does not exist"),
    "a directory": (("import", "/"), "is a directory"),
    "no such command": (("nix",), "No such command 'nix'"),
    "no such option": (("show", "a", "--nix"), "--nix"),
    "no actor": (("show",), "Missing argument 'ACTOR'"),
    "an empty actor": (("show", ""), "1 to 255"),
    "an actor that is no UTF-8": (("show", "\udcff"), "UTF-8"),
    "no URL": (("show", "a", "--url", "localhost"), "type nats://HOST:PORT"),
    "a URL with slashes": (("show", "a", "--url", "embedded://x"), "embedded:./data"),
    "no namespace": (("show", "a", "--namespace", "a.b"), "1 to 64 characters"),
    "no time": (("show", "a", "--timeout", "0"), "'--timeout'"),
    "no sync": (("demo", "--sync", "never"), 'neither "always" nor 0.001 to 86400 seconds'),
    "a server that is not the demo's": (("demo", "--url", "nats://127.0.0.1:4222"), "can only be embedded:DIR"),
    "a directory twice": (("dev", "--url", "embedded:x", "--dir", "y"), "leave one out"),
}


@pytest.mark.parametrize(("arguments", "reason"), USAGE.values(), ids=USAGE)
def test_what_cannot_be_meant_is_refused_with_exit_code_2(arguments: tuple[str, ...], reason: str) -> None:
    """The line says what is wrong and where to read how it is meant."""
    line = told_in_one_line(*arguments, code=2)
    assert reason in line
    assert re.search(r"to see how: aether( \w+)? --help$", line)


@pytest.mark.parametrize("module", ["click", "rich"])
def test_without_the_extra_the_command_says_what_to_install(module: str) -> None:
    """Without click or rich there is one line, with the exact command."""
    program = f"import sys; sys.modules[{module!r}] = None; from aether.__main__ import main; sys.exit(main())"
    done = aether("demo", program=program)
    assert (done.code, done.out) == (2, "")
    assert done.err.endswith('type: python3 -m pip install "aether-events[cli]"\n')
    assert len(done.err.splitlines()) == 1


@pytest.mark.parametrize("command", [("demo",), ("dev", "--port", "0")])
def test_without_a_server_binary_the_command_says_what_to_install(command: tuple[str, ...]) -> None:
    """Where no nats-server is found there is one line, with the exact command."""
    program = """
import shutil, sys
shutil.which = lambda *names, **options: None
from aether.__main__ import main
sys.exit(main())
"""
    assert told_in_one_line(*command, program=program).endswith('type: python3 -m pip install "aether-events[server]"')


def test_a_damaged_file_ends_the_import_behind_its_last_good_line(nats_server: EmbeddedServer, namespace: str) -> None:
    """The lines in front of the damage are stored and counted, and the line says how to check the file."""
    packed = SAMPLE.read_bytes()[:20_000]
    done = aether("import", "-", "--url", nats_server.url, "--namespace", namespace, "--json", stdin=packed)
    assert done.code == 1
    assert "aether: stdin: the gzip data ends early; check the file with: gzip -t" in done.err
    assert done.told["saved"] == done.told["read"] == done.told["settled_line"] > 100
    assert done.told["error"]["message"] == "stdin: the gzip data ends early; check the file with: gzip -t"


def test_ctrl_c_while_waiting_for_a_server_ends_at_once() -> None:
    """The exit code is 130, as a shell expects, and there is one line."""
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        running("show", "a", "--url", f"nats://127.0.0.1:{silent.getsockname()[1]}", "--timeout", "600") as waiting,
    ):
        peer, _ = silent.accept()
        with peer:
            waiting.process.send_signal(signal.SIGINT)
            done = waiting.end()
    assert (done.code, done.out, done.err) == (130, "", "aether: interrupted\n")


@pytest.mark.parametrize(
    "typed", [["--version"], ["--version", "--json"], ["show", "--json", "--url", "nats://127.0.0.1:1", "a"]]
)
def test_a_full_output_is_said(typed: list[str]) -> None:
    """Where stdout cannot be written, the exit code says so, and standard error in one line, also where JSON was asked for."""
    program = "import os, sys; os.dup2(os.open('/dev/full', os.O_WRONLY), 1); from aether.__main__ import main; sys.exit(main())"
    done = aether(*typed, "--timeout", "1", program=program) if "show" in typed else aether(*typed, program=program)
    assert done.code == 1
    assert done.err.startswith("aether: ")
    assert done.err.count("\n") == 1


def test_version_and_help_are_there() -> None:
    """`aether --version` names the installed version, and `aether` alone shows the commands."""
    assert aether("--version").out == f"aether {importlib.metadata.version('aether-events')}\n"
    shown = aether()
    assert shown.code == 0
    for command in ("demo", "dev", "import", "repair", "show"):
        assert command in shown.out
