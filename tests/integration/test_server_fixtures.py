"""The fixtures of `aether.testing` and of the root conftest do what they say."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import nats
import pytest
from processes import DEADLINE_S

if TYPE_CHECKING:
    from nats.js import JetStreamContext

ROOT_CONFTEST = Path(__file__).parents[2] / "conftest.py"


def run_pytest(directory: Path, test: str, *options: str, autoload: bool = False) -> subprocess.CompletedProcess[str]:
    """Run one test file in a project of its own, with our plugin alone or, slower, with whatever is installed."""
    (directory / "test_it.py").write_text(test)
    command = [sys.executable, "-m", "pytest", "-q", "--rootdir", str(directory), "-p", "no:cacheprovider", *options]
    environment = dict(os.environ)
    if not autoload:
        environment["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
        command += ["-p", "aether.testing.plugin"]
    return subprocess.run(command, cwd=directory, env=environment, capture_output=True, text=True, timeout=200, check=False)


async def all_current(stream: JetStreamContext, name: str) -> bool:
    """Whether all three nodes hold the stream and none lags behind."""
    cluster = (await stream.stream_info(name)).cluster
    assert {cluster.leader, *(replica.name for replica in cluster.replicas)} == {"0", "1", "2"}
    return all(replica.current for replica in cluster.replicas)


async def test_cluster_survives_the_leader(nats_cluster):
    """A stream with three replicas takes writes while any one node is dead, and the restarted node has them too."""
    client = await nats.connect(nats_cluster.urls, reconnect_time_wait=0.05)
    try:
        stream = client.jetstream(timeout=30)
        await stream.add_stream(name="R3", subjects=["r3"], num_replicas=3)
        await stream.publish("r3", b"1")
        leader = await nats_cluster.leader_of("R3")
        await nats_cluster.kill(leader)
        assert [server.alive for server in nats_cluster.servers].count(False) == 1
        successor = await nats_cluster.leader_of("R3")
        assert successor != leader
        assert (await stream.publish("r3", b"2")).seq == 2
        await nats_cluster.restart(leader)
        assert nats_cluster.servers[leader].alive
        async with asyncio.timeout(DEADLINE_S):
            # A leader calls a replica current when it has next heard from it.
            while not await all_current(stream, "R3"):  # noqa: ASYNC110 - the server tells it to nobody unasked
                await asyncio.sleep(0.05)
        await stream.delete_stream("R3")
    finally:
        await client.close()


@pytest.mark.parametrize("node", [0, 1])
async def test_cluster_is_whole_at_the_start(node, nats_cluster):
    """A test that leaves a node dead does not harm the next one."""
    assert all(server.alive for server in nats_cluster.servers)
    await nats_cluster.kill(node)
    assert not nats_cluster.servers[node].alive


async def test_fresh_server_is_another(nats_server, fresh_nats_server):
    """A fresh server is not the shared one, and killing it leaves that alone."""
    assert fresh_nats_server.url != nats_server.url
    await fresh_nats_server.kill()
    assert nats_server.alive


@pytest.mark.parametrize("name", ["plain", "ü*.>/[] ", "x" * 300], ids=lambda name: name)
def test_namespace(name, namespace):
    """Whatever a test is called, its namespace is one that Aether takes."""
    assert re.fullmatch(r"[A-Za-z0-9_-]{1,64}", namespace)


def test_namespaces_differ(tmp_path):
    """The same test run twice has two namespaces."""
    test = "def test_it(namespace):\n    print('ns', namespace)\n"
    seen = {re.search(r"ns (\S+)", run_pytest(tmp_path, test, "-s").stdout)[1] for _ in range(2)}
    assert len(seen) == 2


@pytest.mark.parametrize(("options", "expected"), [((), 1), (("--size=quick",), 1), (("--size=ci",), 2), (("--size=full",), 3)])
def test_size(options, expected, tmp_path):
    """`--size` chooses how large tests are, quick unless told otherwise."""
    (tmp_path / "conftest.py").write_text(ROOT_CONFTEST.read_text())
    test = f"def test_it(size):\n    assert size.pick(1, 2, 3) == {expected}\n"
    run = run_pytest(tmp_path, test, *options)
    assert run.returncode == 0, run.stdout


def test_left_over_server_fails_the_run(tmp_path):
    """A run whose tests pass but leave a server behind fails, names the server and ends it."""
    (tmp_path / "conftest.py").write_text(ROOT_CONFTEST.read_text().replace("ORPHAN_WAIT_S = 20.0", "ORPHAN_WAIT_S = 0.1"))
    test = """
import subprocess
import time
from aether.nats.server_files import find_binary

LEFT = []

def test_it(tmp_path):
    log = tmp_path / "log"
    LEFT.append(subprocess.Popen([find_binary(), "-a", "127.0.0.1", "-p", "-1", "-l", log]))
    deadline = time.monotonic() + 60
    while not (log.exists() and "is ready" in log.read_text()):  # until then it may have no command line yet
        assert time.monotonic() < deadline
        time.sleep(0.01)
"""
    run = run_pytest(tmp_path, test)
    assert "1 passed" in run.stdout
    assert run.returncode == 1
    left = re.search(r"outlived it, process (\d+): \S+nats-server", run.stdout)
    assert left is not None
    assert not Path(f"/proc/{left[1]}/exe").exists()


def test_fixtures_without_pytest_asyncio(tmp_path):
    """Installing Aether is enough for the fixtures to be there, and they need no asyncio plugin: a plain test can take them."""
    test = """
import socket

def test_it(nats_server):
    with socket.create_connection(("127.0.0.1", nats_server.port)) as client:
        assert client.recv(5) == b"INFO "
"""
    run = run_pytest(tmp_path, test, "-p", "no:asyncio", autoload=True)
    assert run.returncode == 0, run.stdout


def test_plugin_is_cheap_to_load():
    """Loading the plugin, as every pytest run of a user does, imports neither the servers nor the contract suites."""
    program = "import sys, aether.testing.plugin; print([name for name in sys.modules if name.startswith('aether.testing.')])"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "['aether.testing.plugin']"
