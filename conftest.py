"""What all tests and benches share: how large they are, how patient, and that no server outlives the run."""

from __future__ import annotations

import gc
import os
import signal
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

import pytest
from hypothesis import HealthCheck, settings

T = TypeVar("T")

# An example may take as long as a busy machine likes, and so may making it.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")

RUN_VARIABLE = "AETHER_TEST_RUN"
"""Set for this run and inherited by every process it starts, so that those left over can be told from other people's."""

LEAN = Path(__file__).parent / "tests" / "lean"
"""Leaves out of other processes what they do not need; see there."""

ORPHAN_WAIT_S = 20.0
"""A server whose owner was killed may take its grace to end."""

ORPHANS = pytest.StashKey[dict[int, str]]()


@dataclass(frozen=True)
class Size:
    """How large the tests are, from `--size`."""

    name: Literal["quick", "ci", "full"]

    def pick(self, quick: T, ci: T, full: T) -> T:
        """Return the value for this size."""
        return {"quick": quick, "ci": ci, "full": full}[self.name]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--size`."""
    parser.addoption("--size", choices=("quick", "ci", "full"), default="quick", help="how large the larger tests are")


def pytest_configure(config: pytest.Config) -> None:
    """Mark this run, and let the processes that its tests start start fast."""
    if not _is_worker(config):
        os.environ[RUN_VARIABLE] = uuid.uuid4().hex
        if config.getoption("numprocesses", None):
            return  # the processes that run the tests are whole
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(LEAN), os.environ.get("PYTHONPATH", "")]))


def _is_worker(config: pytest.Config) -> bool:
    """Whether this is one of the processes that pytest-xdist shares the tests among."""
    return hasattr(config, "workerinput")


@pytest.fixture(scope="module", autouse=True)
def _old_objects_are_not_looked_at() -> None:
    """Leave what is there to stay (modules, thousands of tests and reports) out of each collection that tests ask for."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def size(request: pytest.FixtureRequest) -> Size:
    """How large tests with a choice should be: `size.pick(quick, ci, full)`."""
    return Size(request.config.getoption("--size"))


@pytest.fixture
def longer(size: Size) -> None:
    """Leave a test out of the quick ones: what it starts, or imports, takes its seconds."""
    if size.name == "quick":
        pytest.skip("with --size=ci, and longer")


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail the run if it leaves a server behind."""
    if _is_worker(session.config):
        return  # the process that shares out the tests looks when all have ended
    deadline = time.monotonic() + ORPHAN_WAIT_S
    while (left := _servers_of_this_run()) and time.monotonic() < deadline:
        time.sleep(0.05)
    session.config.stash[ORPHANS] = left
    for pid in left:
        os.kill(pid, signal.SIGKILL)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Name what was left behind."""
    for pid, command in config.stash.get(ORPHANS, {}).items():
        terminalreporter.write_line(f"FAILED a server started by this run outlived it, process {pid}: {command}", red=True)


def _servers_of_this_run() -> dict[int, str]:
    """The command lines of living nats-servers and watchdogs that inherited this run's mark; found on Linux only."""
    mark = f"{RUN_VARIABLE}={os.environ[RUN_VARIABLE]}".encode()
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes().replace(b"\0", b" ")
            if (b"nats-server" in command or b"_watchdog.py" in command) and mark in (process / "environ").read_bytes():
                found[int(process.name)] = command.decode(errors="replace").strip()
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue  # it ended meanwhile, or it is not ours
    return found
