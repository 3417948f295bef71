"""Imports while processes die and connections break: run again, every event of the input is stored once."""

from __future__ import annotations

import asyncio
import json
import os
import random
from contextlib import AsyncExitStack, closing
from typing import TYPE_CHECKING, Any

import pytest
from command_line import aether, running, stock_dump
from faults.proxy import Proxy, every_nth, is_ack
from faults.waiting import LIMIT_S, hurried, until
from importing import ACTORS, Input, count_messages, until_more

from aether import AetherError, Event, JetStreamEventStore
from aether.ingest.importer import Importer
from aether.ingest.lines import LineSource
from aether.ingest.reading import Reading

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from conftest import Size

    from aether import EmbeddedServer
    from aether.ingest.reports import ImportReport


@pytest.fixture
def given(tmp_path: Path, size: Size) -> Input:
    """An input, as large as the tests are."""
    return Input(tmp_path / "input.ndjson", size.pick(5_000, 100_000, 1_000_000))


async def test_an_import_that_is_killed_again_and_again_stores_each_event_once(
    nats_server: EmbeddedServer, namespace: str, given: Input, size: Size
) -> None:
    """SIGKILL while commits are on their way: the same command goes on, and a raw dump has every event once, in its order."""
    target = ("--url", nats_server.url, "--namespace", namespace)
    lines, chance = given.path.read_bytes().splitlines(keepends=True), random.Random(1)
    for round_ in range(size.pick(2, 2, 10)):
        with running("import", "-", *target) as importing:
            place = chance.randrange(len(lines) // 2)
            before = await count_messages(nats_server.url, namespace) or 0
            importing.type(b"".join(lines[:place]))
            if round_ == 0:
                await until_more(nats_server.url, namespace, before)
            importing.type(b"".join(lines[place:]))
            importing.process.kill()
    assert await count_messages(nats_server.url, namespace)
    done = aether("import", str(given.path), *target, "--json")
    assert done.code == 0, done.err
    assert (done.told["read"], done.told["conflicts"]) == (given.count, 0)
    assert done.told["saved"] + done.told["already_there"] == given.count
    assert await given.complaints(nats_server.url, namespace) == []


class Going:
    """An import in this process that can be harmed, and is run again where it ended early."""

    def __init__(self, store: JetStreamEventStore, given: Input, commit_bytes_max: int) -> None:
        self.store, self.given, self.commit_bytes_max = store, given, commit_bytes_max
        self.importer: Any = None
        self.saved = self.runs = 0

    @property
    def settled(self) -> int:
        """How many events are stored, as the import counts them."""
        report = self.importer.report if self.importer is not None else None
        return 0 if report is None else report.saved + report.already_there

    async def until_through(self) -> ImportReport:
        """Import until a run comes through."""
        while True:
            self.runs += 1
            with closing(self.given.path.open("rb")) as file:
                self.importer = Importer(self.store, commit_bytes_max=self.commit_bytes_max)
                try:
                    return await self.importer.run(LineSource(Reading(file.fileno(), "input")).chunks())
                except AetherError:
                    assert self.runs < 50
                finally:
                    self.saved += self.importer.report.saved


@pytest.mark.parametrize("harm", ["kill", "cut", "reset", "lose"])
async def test_an_import_through_breakage_stores_each_event_once(
    fresh_nats_server: EmbeddedServer, given: Input, size: Size, harm: str
) -> None:
    """Servers killed, connections cut or reset, acks lost: a raw dump has every event once, and a further run changes nothing."""
    async with AsyncExitStack() as stack:
        proxy = await stack.enter_async_context(Proxy(fresh_nats_server.url))
        if harm == "lose":
            proxy.lose_from_server = every_nth(97, is_ack)
        store = await stack.enter_async_context(JetStreamEventStore(proxy.url, namespace="n", timeout_s=20))
        going = Going(store, given, (await store.info()).commit_bytes_max)
        work = asyncio.ensure_future(going.until_through())
        if harm != "lose":
            await harm_again_and_again(going, work, size.pick(2, 2, 10), harms(proxy, fresh_nats_server)[harm])
        report = await work
        assert report.saved + report.already_there == given.count == report.settled_line
        assert (report.conflicts, report.failed, report.bad) == (0, 0, 0)
        assert await given.complaints(fresh_nats_server.url, "n") == []
        again = await Going(store, given, going.commit_bytes_max).until_through()
        assert (again.saved, again.already_there) == (0, given.count)


def harms(proxy: Proxy, server: EmbeddedServer) -> dict[str, Callable[[], Awaitable[None]]]:
    """Return what can be done to an import's server and connections."""

    async def kill() -> None:
        await server.kill()
        await server.restart()

    async def cut() -> None:
        proxy.cut()

    async def reset() -> None:
        proxy.reset()

    return {"kill": kill, "cut": cut, "reset": reset}


async def harm_again_and_again(going: Going, work: asyncio.Future[Any], times: int, harm: Callable[[], Awaitable[None]]) -> None:
    """Do harm, spread over the import."""
    for number in range(times):
        seen = going.given.count * number // (times + 1)
        await until(lambda seen=seen: going.settled > seen or work.done(), limit_s=120)
        await harm()


async def test_a_failing_import_says_up_to_which_line_all_is_settled(
    nats_server: EmbeddedServer, namespace: str, tmp_path: Path
) -> None:
    """Where the server stays away the import ends, and everything up to the line that it names is in a raw dump."""
    given = Input(tmp_path / "input", 3000)
    reading, writing = os.pipe()
    async with (
        Proxy(nats_server.url) as proxy,
        JetStreamEventStore(proxy.url, namespace=namespace) as store,
    ):
        importer = Importer(store, commit_bytes_max=(await store.info()).commit_bytes_max)
        lines = given.path.read_bytes().splitlines(keepends=True)
        work = asyncio.ensure_future(importer.run(LineSource(Reading(reading, "pipe")).chunks()))
        try:
            os.write(writing, b"".join(lines[:200]))
            await until(lambda: importer.report.saved == 200)
            assert importer.report.settled_line == 200
            proxy.silent = True
            os.write(writing, b"".join(lines[200:500]))
            with hurried(store, 1.5), pytest.raises(AetherError):
                await asyncio.wait_for(work, LIMIT_S)
        finally:
            os.close(writing)
            os.close(reading)
        report = importer.report
        assert (report.stopped, report.settled_line, report.saved, report.failed) == ("failed", 200, 200, 300)
        proxy.silent = False
    done = aether("import", str(given.path), "--url", nats_server.url, "--namespace", namespace, "--json")
    assert done.code == 0, done.err
    assert await given.complaints(nats_server.url, namespace) == []


async def test_a_stop_finishes_what_is_on_its_way_and_names_where_it_stands(
    nats_server: EmbeddedServer, namespace: str, tmp_path: Path
) -> None:
    """After `stop` nothing is half done: all up to the settled line is stored, and what was never sent is not."""
    given = Input(tmp_path / "input", 3000)
    reading, writing = os.pipe()
    async with JetStreamEventStore(nats_server.url, namespace=namespace) as store:
        importer = Importer(store, commit_bytes_max=(await store.info()).commit_bytes_max)
        work = asyncio.ensure_future(importer.run(LineSource(Reading(reading, "pipe")).chunks()))
        try:
            os.write(writing, b"".join(given.path.read_bytes().splitlines(keepends=True)[:400]))
            await until(lambda: importer.report.read == 400)
            importer.stop()
            report = await asyncio.wait_for(work, LIMIT_S)
        finally:
            os.close(writing)
            os.close(reading)
    assert report.stopped == "interrupted"
    assert report.saved + report.failed == 400
    ids = {event["id"] for commit in await stock_dump(nats_server.url, namespace) for event in commit["events"]}
    assert len(ids) == report.saved
    settled = [json.loads(line)["id"] for line in given.path.read_bytes().splitlines()[: report.settled_line]]
    assert ids >= set(settled)


async def test_a_malformed_line_far_into_a_file_is_told_by_its_number(
    nats_server: EmbeddedServer, namespace: str, given: Input, size: Size, tmp_path: Path
) -> None:
    """It is reported with number and reason, what is in front of it is stored, and with quarantine all the rest is too."""
    number = size.pick(3_204, 73_204, 731_204)
    lines = given.path.read_bytes().splitlines(keepends=True)
    lines.insert(number - 1, b'{"id": "x", "actor_id": "a"\n')
    given.path.write_bytes(b"".join(lines))
    target, aside = (str(given.path), "--url", nats_server.url, "--namespace", namespace), tmp_path / "aside"
    done = aether("import", *target)
    assert done.code == 1
    assert f"aether: line {number:,}: Input data was truncated" in done.err
    assert sum(len(commit["events"]) for commit in await stock_dump(nats_server.url, namespace)) == number - 1
    done = aether("import", *target, "--on-error", "quarantine", str(aside), "--json")
    assert (done.code, done.told["bad"], done.told["faults"][0]["line"]) == (0, 1, number)
    assert aside.read_bytes() == lines[number - 1]
    assert await given.complaints(nats_server.url, namespace) == []


@pytest.mark.parametrize("bug", ["twice", "lost", "order", "gap"])
async def test_the_check_finds_what_it_is_for(nats_server: EmbeddedServer, namespace: str, tmp_path: Path, bug: str) -> None:
    """An event that is stored twice, is missing, or out of order, and a version that is passed over, are complained of."""
    given = Input(tmp_path / "input", 2 * ACTORS)
    actor = next(actor for actor, ids in given.expected.items() if len(ids) > 1)
    async with JetStreamEventStore(nats_server.url, namespace=namespace) as store:
        for other, ids in given.expected.items():
            stored = {"twice": [*ids, ids[0]], "lost": ids[:-1], "order": ids[::-1], "gap": ids}[bug] if other == actor else ids
            gap = int(bug == "gap" and other == actor)
            await store.save_events([Event(other, "T", version + gap, id=one) for version, one in enumerate(stored, 1)])
    assert await given.complaints(nats_server.url, namespace) == [f"{actor}: {'gaps' if bug == 'gap' else 'other events'}"]
