"""`aether export` against real servers."""

from __future__ import annotations

import csv
import gzip
import json
import os
import signal
from typing import TYPE_CHECKING

import pytest
from command_line import aether, running
from faults.dump import stock_client
from processes import wait_until

from aether import Event, JetStreamEventStore, NewEvent
from aether._native import actor_subject
from aether.ingest.records import format_record

if TYPE_CHECKING:
    from pathlib import Path

    from aether import EmbeddedServer

HOSTILE = ["a.b", "*", ">", "$SYS", "a b", "é", '"', ",", "\r\n", "\0", "=epoch", "x" * 255]


async def stored(url: str, namespace: str) -> list[Event]:
    """Return a namespace's events by actor and version."""
    async with JetStreamEventStore(url, namespace=namespace) as store:
        events = [event async for batch in store.read_all() for event in batch]
    return sorted(events, key=lambda event: (event.actor_id, event.version))


async def fill(url: str, namespace: str) -> list[Event]:
    """Store events that are hard to write down, and return them as they are stored."""
    async with JetStreamEventStore(url, namespace=namespace) as store:
        for number, actor in enumerate(HOSTILE):
            data = {"n": 2**64 - 1, "text": actor, "bytes": b"\xff" if number % 2 else None, "float": 0.1}
            await store.append(actor, [NewEvent(actor, data, metadata={"k": actor}), NewEvent("T", id=f"id {actor}"[:200])])
            await store.save_event(Event(actor, "T", 2**64 - 1, actor))
    return await stored(url, namespace)


def names_in(folder: Path) -> list[str]:
    """Return what lies in a folder."""
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("name", ["x.ndjson", "x.gz", "x.zst", "x.csv", "x.parquet", "cloudevents"])
async def test_an_export_imported_into_another_namespace_has_equal_events(
    nats_server: EmbeddedServer, namespace: str, tmp_path: Path, name: str
) -> None:
    """Ids, versions to 2**64 - 1, times, bytes and metadata are equal, whatever the form; the file alone is left."""
    events = await fill(nats_server.url, namespace)
    form = ("--format", "cloudevents") if name == "cloudevents" else ()
    file = str(tmp_path / name)
    done = aether("export", file, *form, "--url", nats_server.url, "--namespace", namespace, "--json")
    assert done.code == 0, done.err
    assert (done.told["events"], done.told["verified"], done.told["damaged"]) == (len(events), len(events), 0)
    assert names_in(tmp_path) == [name]
    done = aether("import", file, *form, "--url", nats_server.url, "--namespace", f"{namespace}-2")
    assert done.code == 0, done.err
    assert await stored(nats_server.url, f"{namespace}-2") == events


async def test_what_is_exported_can_be_chosen(nats_server: EmbeddedServer, namespace: str, tmp_path: Path) -> None:
    """Actor, prefix, type and positions choose, on stdout too, whose summary is on stderr."""
    async with JetStreamEventStore(nats_server.url, namespace=namespace) as store:
        for number in range(1, 7):
            await store.append(f"a{number % 2}", NewEvent(f"T{number % 3}", number))
    target = ("--url", nats_server.url, "--namespace", namespace)
    for choice, expected in (
        (("--actor", "a1"), [1, 3, 5]),
        (("--prefix", "a"), [1, 2, 3, 4, 5, 6]),
        (("--type", "T1", "--type", "T2"), [1, 2, 4, 5]),
        (("--after", "4"), [5, 6]),
        (("--after", "1", "--through", "3"), [2, 3]),
        (("--actor", "nobody"), []),
    ):
        done = aether("export", "-", *choice, *target)
        assert (done.code, [json.loads(line)["data"] for line in done.out.splitlines()]) == (0, expected)
        assert f"aether: {len(expected)} events through position " in done.err
    done = aether("export", str(tmp_path / "x.csv"), "--actor", "a1", *target)
    assert done.out.startswith("3 events through position 6, 3 read again from ")
    with (tmp_path / "x.csv").open(newline="") as file:
        assert [row["data"] for row in csv.DictReader(file)] == ["1", "3", "5"]


def test_what_cannot_be_exported_says_what_to_type(nats_server: EmbeddedServer, namespace: str, tmp_path: Path) -> None:
    """A namespace that is not there, a wrong form and a wrong name are one line each, and nothing is made."""
    target = ("--url", nats_server.url, "--namespace", namespace)
    (tmp_path / "folder").mkdir()
    for arguments, code, reason in (
        ((str(tmp_path / "x"),), 1, "there is no namespace"),
        (("-", "--format", "parquet"), 2, "parquet needs a file"),
        ((str(tmp_path / "x.parquet.gz"),), 2, "parquet needs a file"),
        ((str(tmp_path / "x.arrow"),), 2, "can be imported, not exported"),
        (("-", "--json"), 2, "mixed with the events"),
        ((str(tmp_path / "folder"),), 2, "is a directory"),
        (("/dev/null",), 1, "is there and no file"),
        ((str(tmp_path / "none" / "x"),), 1, "No such file or directory"),
    ):
        done = aether("export", *arguments, *target)
        assert (done.code, reason in done.err) == (code, True), done.err
    assert names_in(tmp_path) == ["folder"]


async def test_a_damaged_message_is_named_and_stepped_over_when_told(
    nats_server: EmbeddedServer, namespace: str, tmp_path: Path
) -> None:
    """Without --step-over an older file stays as it was; with it all other events are in the new one, and the exit code is 1."""
    target = (str(tmp_path / "x"), "--url", nats_server.url, "--namespace", namespace)
    async with JetStreamEventStore(nats_server.url, namespace=namespace) as store, stock_client(nats_server.url) as client:
        await store.append("a", NewEvent("T", 1))
        await client.jetstream().publish(actor_subject(namespace, "b"), b"damaged")
        await client.jetstream().publish(actor_subject(namespace, "c"), b"damaged")
        await store.append("a", NewEvent("T", 4))
        events = await store.get_events("a")
    (tmp_path / "x").write_bytes(b"old")
    done = aether("export", *target, "--json")
    assert done.code == 1
    assert "aether: message 2 of 'b' in " in done.err
    assert "ended at position 2; nothing was kept; to go on behind damage: --step-over" in done.err
    assert (done.told["error"]["type"], done.told["events"]) == ("CorruptEventError", 1)
    assert (names_in(tmp_path), (tmp_path / "x").read_bytes()) == (["x"], b"old")
    done = aether("export", *target, "--step-over")
    assert done.code == 1
    assert done.err.count("aether: stepped over: message ") == 2
    assert done.out.startswith("2 events through position 4, 2 damaged messages stepped over, 2 read again from ")
    assert (tmp_path / "x").read_bytes().splitlines() == [format_record(event) for event in events]


@pytest.fixture
async def many(nats_server: EmbeddedServer, namespace: str) -> int:
    """So many events in the namespace that an export takes a while."""
    count = 20_000
    async with JetStreamEventStore(nats_server.url, namespace=namespace) as store, store.ingest() as pipeline:
        await pipeline.put_many([Event(f"a{n % 100}", "T", n // 100 + 1, "x" * 100) for n in range(count)])
    return count


ENDED = {signal.SIGINT: (130, "aether: interrupted\n"), signal.SIGTERM: (143, "aether: terminated\n")}


@pytest.mark.parametrize("number", [*ENDED, signal.SIGKILL])
async def test_an_export_that_is_ended_leaves_no_half_file(
    nats_server: EmbeddedServer, namespace: str, tmp_path: Path, many: int, number: signal.Signals
) -> None:
    """Ctrl-C and SIGTERM leave nothing, kill -9 the part, neither touches the older file, and the next export is whole."""
    file, part = tmp_path / "x.gz", tmp_path / "x.gz.part"
    file.write_bytes(b"old")
    command = ("export", str(file), "--url", nats_server.url, "--namespace", namespace)
    with running(*command) as exporting:
        wait_until(lambda: part.exists() and part.stat().st_size > 0, "the first events in the file")
        exporting.process.send_signal(number)
        done = exporting.end()
    code, told = ENDED.get(number, (-signal.SIGKILL, ""))
    assert (done.code, done.err.endswith(told)) == (code, True)
    assert names_in(tmp_path) == (["x.gz"] if number in ENDED else ["x.gz", "x.gz.part"])
    assert file.read_bytes() == b"old"
    done = aether(*command, "--json")
    assert (done.code, done.told["verified"], names_in(tmp_path)) == (0, many, ["x.gz"])
    assert len(gzip.decompress(file.read_bytes()).splitlines()) == many


async def test_ctrl_c_ends_an_export_whose_reader_waits(nats_server: EmbeddedServer, namespace: str, many: int) -> None:
    """A pipe that nobody reads is no reason to hang, and one whose reader left ends the command quietly."""
    assert many
    command = ("export", "-", "--url", nats_server.url, "--namespace", namespace)
    with running(*command, heard=False) as exporting:
        assert exporting.process.stdout is not None
        assert os.read(exporting.process.stdout.fileno(), 100)
        exporting.process.send_signal(signal.SIGINT)
        done = exporting.end()
        exporting.process.stdout.close()
    assert (done.code, done.err) == (130, "aether: interrupted\n")
    with running(*command, heard=False) as exporting:
        assert exporting.process.stdout is not None
        assert os.read(exporting.process.stdout.fileno(), 100)
        exporting.process.stdout.close()
        done = exporting.end()
    assert (done.code, done.err) == (141, "")
