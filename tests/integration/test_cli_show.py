"""`aether show` and `aether repair`."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
from typing import TYPE_CHECKING

from command_line import aether, running
from faults.dump import stock_client

from aether import ClusterNode, JetStreamEventStore, NewEvent
from aether.nats.subjects import actor_subject

if TYPE_CHECKING:
    from aether import EmbeddedServer

ODD = 'a.b *> "x" \x1b[31m\u202e'
"""An id with everything that a terminal, a shell or a subject could trip over."""


async def test_show_prints_an_event_a_line_and_nothing_that_a_terminal_obeys(nats_server: EmbeddedServer, namespace: str) -> None:
    """Version, time, type, data and metadata stand in one line each; control characters stand as their escapes."""
    async with JetStreamEventStore(nats_server.url, namespace=namespace) as store:
        moment = dt.datetime(2013, 1, 1, 10, 17, tzinfo=dt.UTC)
        await store.append(ODD, NewEvent("Placed", {"total": 99.99}, timestamp=moment, metadata={"command_id": "c"}))
        await store.append(ODD, NewEvent("\x1b[2J\n", {"text": "\x9b\u202e\n", "raw": b"\0"}, timestamp=moment))
    done = aether("show", ODD, "--url", nats_server.url, "--namespace", namespace)
    assert done.code == 0, done.err
    first, second = done.out.splitlines()
    assert first.split() == [*["1", "2013-01-01", "10:17:00", "Placed"], '{"total":', "99.99}", '{"command_id":', '"c"}']
    assert "\\x1b[2J\\n" in second
    assert all(character.isprintable() for character in second)


async def test_show_json_is_what_import_takes(nats_server: EmbeddedServer, namespace: str) -> None:
    """Exported and imported elsewhere an actor is equal, gaps, nanoseconds and bytes included; imported here it is all there."""
    async with JetStreamEventStore(nats_server.url, namespace=namespace) as store:
        await store.append(ODD, [NewEvent("T", {"n": 1}), NewEvent("T", [b"\0", dt.datetime.now(dt.UTC)], metadata={"a": "b"})])
        await store.append(ODD, [NewEvent("T", number) for number in range(600)])
        events = await store.get_events(ODD)
    target = ("--url", nats_server.url, "--namespace")
    exported = aether("show", ODD, *target, namespace, "--json")
    assert (exported.code, len(exported.out.splitlines())) == (0, 602)
    assert json.loads(exported.out.splitlines()[0])["data"] == {"n": 1}
    here = aether("import", "-", *target, namespace, "--json", stdin=exported.out.encode())
    assert (here.told["saved"], here.told["already_there"]) == (0, 602)
    there = aether("import", "-", *target, f"{namespace}-2", "--json", stdin=exported.out.encode())
    assert (there.told["saved"], there.told["already_there"]) == (602, 0)
    async with JetStreamEventStore(nats_server.url, namespace=f"{namespace}-2") as store:
        assert await store.get_events(ODD) == events


async def test_show_begins_and_ends_where_it_is_told(nats_server: EmbeddedServer, namespace: str) -> None:
    """--from-version is inclusive, --limit counts events, and nothing to show is said with exit code 1."""
    async with JetStreamEventStore(nats_server.url, namespace=namespace) as store:
        for number in range(10):
            await store.append("a", NewEvent("T", number))
    target = ("--url", nats_server.url, "--namespace", namespace)

    def versions(*options: str) -> list[int]:
        return [json.loads(line)["version"] for line in aether("show", "a", *target, "--json", *options).out.splitlines()]

    assert versions() == list(range(1, 11))
    assert versions("--from-version", "4") == [4, 5, 6, 7, 8, 9, 10]
    assert versions("--from-version", "4", "--limit", "2") == [4, 5]
    assert versions("--limit", "10") == list(range(1, 11))
    beyond = aether("show", "a", *target, "--from-version", "11")
    assert (beyond.code, beyond.out) == (1, "")
    assert "'a' is at version 10, so there is nothing from 11 on" in beyond.err


async def test_an_actor_or_namespace_that_is_not_there_is_said_and_not_made(nats_server: EmbeddedServer, namespace: str) -> None:
    """Looking makes no stream; the message names what is missing and what to type."""
    target = ("--url", nats_server.url, "--namespace", namespace)
    for command in ("show", "repair"):
        done = aether(command, "a", *target)
        assert (done.code, done.out) == (1, "")
        assert f"there is no namespace '{namespace}'; name another with --namespace" in done.err
    async with stock_client(nats_server.url) as client:
        names = [stream.config.name for stream in await client.jetstream().streams_info()]
    assert not [name for name in names if name is not None and namespace in name]
    async with JetStreamEventStore(nats_server.url, namespace=namespace) as store:
        await store.append("a", NewEvent("T"))
    done = aether("show", "A", *target)
    assert (done.code, done.out) == (1, "")
    assert done.err == f"aether: there is no event of 'A' in the namespace '{namespace}'; ids are taken letter for letter\n"


async def test_a_reader_that_has_enough_ends_show_without_a_word(nats_server: EmbeddedServer, namespace: str) -> None:
    """A closed pipe, as of `| head`, is no fault to report."""
    async with JetStreamEventStore(nats_server.url, namespace=namespace) as store:
        for _ in range(4):
            await store.append("a", [NewEvent("T", "x" * 1000) for _ in range(500)])
    with running("show", "a", "--url", nats_server.url, "--namespace", namespace, heard=False) as show:
        assert show.process.stdout is not None
        assert b"     1  " in show.process.stdout.readline()
        show.process.stdout.close()
        done = show.end()
    assert (done.code, done.err) == (141, "")


async def test_repair_of_a_cluster_is_done_by_the_owner(nats_server: EmbeddedServer, namespace: str) -> None:
    """Any node's actor is repaired while the nodes run, no shard changes its owner, and it works with no node there."""
    target = ("--url", nats_server.url, "--namespace", namespace)
    async with (
        ClusterNode.join(nats_server.url, namespace=namespace, node_id="n", ttl=60, timeout_s=20) as one,
        ClusterNode.join(nats_server.url, namespace=namespace, node_id="m", ttl=60, timeout_s=20) as two,
        stock_client(nats_server.url) as client,
    ):
        await one.settled(timeout_s=60)
        await two.settled(timeout_s=60)
        for node in (one, two):
            actor = next(name for name in map("a{}".format, range(10_000)) if node.epoch_of(name) is not None)
            epoch = node.epoch_of(actor)
            await node.store.append(actor, NewEvent("T", 1))
            published = await client.jetstream().publish(actor_subject(namespace, actor), b"foreign")
            repaired = await asyncio.to_thread(aether, "repair", actor, *target, "--json")
            assert (repaired.code, repaired.told) == (0, {"actor_id": actor, "passed": [published.seq]}), repaired.err
            await node.store.append(actor, NewEvent("T", 2))
            assert [event.data for event in await node.store.get_events(actor)] == [1, 2]
            assert node.epoch_of(actor) == epoch
    async with stock_client(nats_server.url) as client:
        published = await client.jetstream().publish(actor_subject(namespace, actor), b"foreign")
    repaired = await asyncio.to_thread(aether, "repair", actor, *target, "--json")
    assert (repaired.code, repaired.told) == (0, {"actor_id": actor, "passed": [published.seq]}), repaired.err


async def test_repair_steps_over_what_is_damaged_and_says_where(nats_server: EmbeddedServer, namespace: str) -> None:
    """A foreign message stops `show` with the command that helps; after `repair` all good events are shown, once and for all."""
    async with JetStreamEventStore(nats_server.url, namespace=namespace) as store:
        await store.append("a", NewEvent("T", 1))
        async with stock_client(nats_server.url) as client:
            await client.jetstream().publish(actor_subject(namespace, "a"), b"foreign")
        target = ("--url", nats_server.url, "--namespace", namespace)
        broken = aether("show", "a", *target, "--json")
        assert broken.code == 1
        assert "message 2 of 'a'" in broken.err
        assert "aether repair 'a'" in broken.err
        repaired = aether("repair", "a", *target)
        assert (repaired.code, repaired.out) == (0, "'a': readers step over 1 damaged messages from now on, at 2\n")
        await store.append("a", NewEvent("T", 2))
    assert [json.loads(line)["data"] for line in aether("show", "a", *target, "--json").out.splitlines()] == [1, 2]
    again = aether("repair", "a", *target)
    assert (again.code, again.out) == (0, "'a': nothing is damaged, and nothing was written\n")
    assert aether("repair", "a", *target, "--json").told == {"actor_id": "a", "passed": []}
