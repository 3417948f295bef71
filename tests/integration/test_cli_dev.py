"""`aether dev`."""

from __future__ import annotations

import json
import os
import signal
from typing import TYPE_CHECKING

import pytest
from command_line import aether, running
from processes import wait_until_gone

if TYPE_CHECKING:
    from pathlib import Path

    from aether import EmbeddedServer


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_dev_runs_a_server_until_it_is_told_to_end_and_keeps_its_data(tmp_path: Path, number: signal.Signals) -> None:
    """Other commands work against it; then it ends in order, its server with it, and the data is there next time."""
    event = b'{"id":"x","actor_id":"a","event_type":"T","timestamp":"2013-01-01T10:17:00Z","data":null}\n'
    with running("dev", "--port", "0", "--dir", str(tmp_path), "--json") as dev:
        dev.wait_for("}\n")
        told = json.loads(dev.out)
        assert aether("import", "-", "--url", told["url"], stdin=event).code == 0
        dev.process.send_signal(number)
        assert dev.end().code == 0
    wait_until_gone(told["pid"])
    assert aether("show", "a", "--url", f"embedded:{tmp_path}").out.split() == ["1", "2013-01-01", "10:17:00", "T", "null"]


def test_dev_says_where_it_is_what_an_ack_means_and_what_to_type() -> None:
    """A newcomer reads the URL, the directory's fate, the sync policy and the next commands."""
    with running("dev", "--port", "0", "--sync", "2.5", "--namespace", "mine") as dev:
        dev.wait_for("aether show")
        dev.process.send_signal(signal.SIGINT)
        done = dev.end()
    assert done.code == 0
    for text in (
        "nats://127.0.0.1:",
        "temporary, gone at the end",
        "every 2.5 s",
        "aether import FILE --url nats://",
        "--namespace mine",
    ):
        assert text in done.out


def test_dev_says_so_if_its_server_ends_by_itself(tmp_path: Path) -> None:
    """A server that somebody killed does not leave a command that waits for ever."""
    with running("dev", "--port", "0", "--dir", str(tmp_path), "--json") as dev:
        dev.wait_for("}\n")
        os.kill(json.loads(dev.out)["pid"], signal.SIGKILL)
        done = dev.end()
    assert done.code == 1
    assert "nats-server ended on its own" in done.err


def test_dev_says_which_port_is_taken(nats_server: EmbeddedServer) -> None:
    """The message names the port and the way out."""
    done = aether("dev", "--port", str(nats_server.port))
    assert done.code == 1
    assert f"port {nats_server.port} is taken by another program" in done.err
    assert len(done.err.splitlines()) == 1
