"""Several imports at once into one namespace, of files that have events in common."""

from __future__ import annotations

import asyncio
import json
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest
from command_line import running, stock_dump
from importing import DUE_S, Input, until_more

if TYPE_CHECKING:
    from pathlib import Path

    from command_line import Running
    from conftest import Size

    from aether import EmbeddedServer

IMPORTS = 3
AT_ONCE = 200
"""Lines that each import gets before the next one does."""

SHARES = {"the same file": (0, 0, 0), "files that overlap": (0, 1, 2)}
"""At which quarter of the lines each import begins; it has two quarters of them, or all where every one begins at 0."""


def first(number: int) -> bytes:
    """A record of an actor that no other import has."""
    fields = {"id": f"first-{number}", "actor_id": f"first-{number}", "event_type": "T", "timestamp": "2013-01-01T10:17:00Z"}
    return json.dumps({**fields, "data": None}).encode() + b"\n"


async def import_at_once(url: str, namespace: str, inputs: list[list[bytes]]) -> list[dict[str, Any]]:
    """Run an import of each input, all at once, and return what each told at its end.

    Each has stored a record of its own before any is given the others, and they are given theirs in turns: so none is through
    before another has begun. At first another one is ahead in each turn, so that each stores something that others have too.
    """
    with ExitStack() as stack:
        target = ("import", "-", "--url", url, "--namespace", namespace, "--json")
        imports: list[Running] = [stack.enter_context(running(*target)) for _ in inputs]
        for number, each in enumerate(imports):
            each.type(first(number))
        await until_more(url, namespace, len(imports) - 1)
        for turn, start in enumerate(range(0, max(map(len, inputs)), AT_ONCE)):
            parts = [(each, lines[start : start + AT_ONCE]) for each, lines in zip(imports, inputs, strict=True)]
            if turn < len(parts):
                ahead, part = parts.pop(turn)
                ahead.type(b"".join(part))
                await until_stored(url, namespace, {json.loads(line)["id"] for line in part})
            for each, part in parts:
                each.type(b"".join(part))
        for each in imports:
            assert each.process.stdin is not None
            each.process.stdin.close()
        ends = [each.end() for each in imports]
    assert [end.code for end in ends] == [0] * len(inputs), [end.err for end in ends]
    return [end.told for end in ends]


async def until_stored(url: str, namespace: str, wanted: set[str]) -> None:
    """Wait until events with these ids are stored."""
    async with asyncio.timeout(DUE_S):
        while wanted - {event["id"] for commit in await stock_dump(url, namespace) for event in commit["events"]}:  # noqa: ASYNC110 - the server tells nobody
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("shares", SHARES.values(), ids=SHARES)
async def test_imports_at_once_store_each_event_once(
    nats_server: EmbeddedServer, namespace: str, tmp_path: Path, size: Size, shares: tuple[int, ...]
) -> None:
    """Processes that import the same events of the same actors at once store each once, without a gap, and count alike."""
    given = Input(tmp_path / "input", size.pick(4_000, 40_000, 400_000))
    lines = given.path.read_bytes().splitlines(keepends=True)
    quarter = len(lines) // 4
    inputs = [lines[share * quarter : (share + 2) * quarter] if any(shares) else lines for share in shares]
    told = await import_at_once(nats_server.url, namespace, inputs)

    commits = await stock_dump(nats_server.url, namespace)
    ids = [event["id"] for commit in commits for event in commit["events"]]
    wanted = [event_id for own in given.expected.values() for event_id in own]
    assert sorted(ids) == sorted([*(f"first-{number}" for number in range(IMPORTS)), *wanted])
    stored: dict[str, list[tuple[str, int]]] = {}
    for commit in commits:
        stored.setdefault(commit["actor"], []).extend((event["id"], event["version"]) for event in commit["events"])
    assert [actor for actor, found in stored.items() if [version for _, version in found] != [*range(1, len(found) + 1)]] == []

    assert [(each["read"], each["saved"] + each["already_there"]) for each in told] == [(len(own) + 1,) * 2 for own in inputs]
    assert sum(each["saved"] for each in told) == len(ids)
    assert {each[name] for each in told for name in ("conflicts", "failed", "bad")} == {0}
    assert sum(each["saved"] > 1 for each in told) > 1, "they never met"
    if not any(shares):
        assert {actor: [event_id for event_id, _ in stored[actor]] for actor in given.expected} == given.expected
