"""`aether demo`, and the checker inside it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from command_line import aether
from faults.dump import stock_client

from aether import Event, InMemoryEventStore, JetStreamEventStore, NewEvent
from aether._native import Head, encode_commit, encode_epoch
from aether.cli import audit
from aether.cli.audit import Stored
from aether.cli.flights import fold

if TYPE_CHECKING:
    from pathlib import Path

    from aether import EmbeddedServer

PLANT = """
import asyncio, sys
from aether.cli import audit, run

stock_dump = audit.dump

async def dump(url, namespace):
    taken = await stock_dump(url, namespace)
    {plant}
    return taken

audit.dump = dump
sys.exit(run(sys.argv[1:]))
"""


def test_the_demo_verifies_every_ack_through_two_kills(tmp_path: Path) -> None:
    """Its one JSON object says what was measured, and every acked event is in the stream once."""
    done = aether("demo", "--json", "--dir", str(tmp_path / "data"))
    assert done.code == 0, done.err
    told = done.told
    assert told["verified"] is True
    assert (told["audit"]["acked"], told["audit"]["stored"]) == (5002, 5002)
    assert told["audit"]["messages"] == told["ingestion"]["commits"] + 2
    first, second = told["kills"]
    assert 2500 <= first["acked"] < 5000
    assert second["acked"] == 5002
    assert len({first["pid"], first["new_pid"], second["new_pid"]}) == 3
    assert second["pid"] == first["new_pid"]
    conflict = told["conflict"]
    assert (conflict["winner"], conflict["loser"]) == (conflict["version"] + 1, conflict["version"] + 2)
    assert conflict["error"].startswith(f"VersionConflictError: '{conflict['actor_id']}' is at version {conflict['winner']}, not")
    assert told["replay"]["events"] == 5002
    assert told["ack"]["sync"] == "always"

    shown = aether(*told["next"][0].split()[1:])
    assert (shown.code, len(shown.out.splitlines())) == (0, conflict["loser"])
    again = aether("demo", "--dir", str(tmp_path / "data"))
    assert (again.code, "has events in the namespace 'default' already" in again.err) == (1, True)


def test_the_demo_prints_plain_lines_where_there_is_no_terminal() -> None:
    """A pipe gets the whole story without colours, and the directory is gone afterwards."""
    done = aether("demo", "--sync", "60")
    assert done.code == 0, done.err
    assert "\x1b" not in done.out
    for text in (
        "synced to disk: every 60 s",
        "kill -9",
        "VersionConflictError: 'N730MQ' is at version 21, not 20",
        "5,002 events in",
        "0 missing, 0 twice, 0 elsewhere, 0 altered, 0 never acked, 0 unreadable, 0 deposed",
        "Verified: every acked event is there once, where its ack said, and nothing else is.",
        "gets gate C22 from the night shift",
        "aether demo --dir ./aether-data",
    ):
        assert text in done.out
    found = re.search(r"data +(\S+) \(temporary", done.out)
    assert found is not None
    assert aether("show", "N730MQ", "--url", f"embedded:{found[1]}").err.startswith(
        f"aether: embedded:{found[1]}: there is no such"
    )


def test_the_demo_fails_if_the_stream_is_not_what_was_acknowledged() -> None:
    """With one event of the dump taken away the exit code is 1, and the event is named."""
    done = aether("demo", program=PLANT.format(plant="taken.events.pop(100)"))
    assert done.code == 1
    assert "1 missing" in done.out
    assert re.search(r"missing: event [0-9a-f-]{36}, acknowledged at \d+", done.out)
    assert "FAILED: the stream is not what was acknowledged." in done.out


async def acked_and_dumped(url: str, namespace: str) -> tuple[dict[str, tuple[int, Stored]], audit.Dump]:
    """Store two commits; return the record of their acks, and the dump."""
    acked = {}
    async with JetStreamEventStore(url, namespace=namespace) as store:
        for first in (0, 2):
            events = [NewEvent("T", {"n": number}) for number in (first, first + 1)]
            appended = await store.append("a", events)
            for number, event in enumerate(events, 1):
                acked[event.id] = (appended.position, Stored("a", first + number, "T", event.time_ns, event.data))
    return acked, await audit.dump(url, namespace)


PLANTED = {
    "missing": lambda _acked, taken: taken.events.pop(),
    "twice": lambda _acked, taken: taken.events.append((9, *taken.events[0][1:])),
    "elsewhere": lambda _acked, taken: taken.events.insert(0, (9, *taken.events.pop(0)[1:])),
    "altered": lambda _acked, taken: taken.events.insert(0, (*taken.events[0][:2], taken.events.pop(0)[2]._replace(data=None))),
    "never_acked": lambda acked, taken: acked.pop(taken.events[0][1]),
    "unreadable": lambda _acked, taken: taken.unreadable.append(3),
    "deposed": lambda _acked, taken: taken.deposed.append(3),
}


@pytest.mark.parametrize("kind", PLANTED)
async def test_the_checker_finds_each_kind_of_difference(nats_server: EmbeddedServer, namespace: str, kind: str) -> None:
    """What was acked and what is there compare equal; one planted difference is found, as what it is, and no other."""
    acked, taken = await acked_and_dumped(nats_server.url, namespace)
    assert len(taken.events) == len(acked) == 4
    assert audit.compare(acked, taken).verified
    PLANTED[kind](acked, taken)
    found = audit.compare(acked, taken)
    assert {name: count for name, count in found.differences.items() if count} == {kind: 1}
    assert not found.verified
    assert len(found.examples) == 1


@pytest.mark.parametrize("offset", [0, 30, -1, None], ids=["head", "middle", "checksum", "cut"])
async def test_the_checker_reads_no_altered_commit(nats_server: EmbeddedServer, namespace: str, offset: int | None) -> None:
    """One changed bit, or a missing byte, makes a commit unreadable to it."""
    await acked_and_dumped(nats_server.url, namespace)
    body = bytearray(await _body(nats_server.url, namespace))
    if offset is None:
        body.pop()
    else:
        body[offset] ^= 1
    damaged = audit.Dump.of(1)
    audit.read_message(damaged, 7, "aether.shop.1.a", bytes(body))
    assert (damaged.events, damaged.unreadable) == ([], [7])


async def test_the_checker_knows_the_owner_of_each_commit() -> None:
    """A commit that names another epoch than the one its shard is in, or none there, was not written by its owner."""
    taken = audit.Dump.of(9)
    steps = [
        (1, "1.a", None), (3, "2.=epoch", 0), (4, "2.b", 3), (5, "1.a", None), (6, "2.=epoch", 0), (7, "2.b", 3),
        (8, "2.b", None), (9, "2.b", 6), (10, "1.a", 6),
    ]  # fmt: skip
    for position, subject, epoch in steps:
        body = encode_epoch("n", 1)
        if not subject.endswith("=epoch"):
            body = encode_commit("a", [Event("a", "t", position)], Head(), header_bytes=0, bytes_max=1000, epoch=epoch)
        audit.read_message(taken, position, f"aether.shop.{subject}", body)
    assert (taken.unreadable, taken.epochs, taken.deposed) == ([], {"2": 6}, [7, 8, 10])
    audit.read_message(taken, 11, "aether.shop.2.=epoch", encode_commit("a", [], Head(), header_bytes=0, bytes_max=1000))
    audit.read_message(taken, 12, "aether.shop.2.b", encode_epoch("n", 1))
    assert (taken.unreadable, taken.epochs, len(taken.events)) == ([11, 12], {"2": 6}, 7)


async def _body(url: str, namespace: str) -> bytes:
    async with stock_client(url) as client:
        message = await client.jetstream().get_msg(f"AETHER-EVENTS-{namespace}", 1)
        assert message.data is not None
        return message.data


async def test_an_aircraft_is_what_its_events_say() -> None:
    """The fold counts flights, finished miles and airports, and knows whether the aircraft is in the air."""
    store = InMemoryEventStore()
    leg = {"flight": "UA1", "origin": "EWR", "dest": "IAH", "delay_min": 0, "distance_mi": 1400}
    back = {"flight": "UA2", "origin": "IAH", "dest": "EWR", "delay_min": 5, "distance_mi": 1400}
    lost = "on the ground at another airport than EWR"
    steps = [
        ("FlightDeparted", leg, (1, 0, {"EWR"}, "in the air to IAH")),
        ("FlightArrived", {"flight": "UA1", "dest": "IAH", "delay_min": -3}, (1, 1400, {"EWR", "IAH"}, "on the ground at IAH")),
        ("FlightCancelled", back, (1, 1400, {"EWR", "IAH"}, "on the ground at IAH")),
        ("FlightDeparted", back, (2, 1400, {"EWR", "IAH"}, "in the air to EWR")),
        (
            "FlightDiverted",
            {"flight": "UA2", "dest": "EWR"},
            (2, 1400, {"EWR", "IAH"}, "on the ground at another airport than EWR"),
        ),
        ("SomethingNew", None, (2, 1400, {"EWR", "IAH"}, lost)),
    ]
    assert fold([]).status == "not seen yet"
    for kind, data, expected in steps:
        await store.append("N1", NewEvent(kind, data))
        state = fold(await store.get_events("N1"))
        assert (state.flights, state.miles, set(state.airports), state.status) == expected
    assert state.version == len(steps)
