"""`aether import` against real servers."""

from __future__ import annotations

import gzip
import importlib.resources
import json
import signal
import uuid
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from command_line import aether, running, stock_dump
from importing import count_messages
from processes import wait_until

from aether.testing.servers import running_server

if TYPE_CHECKING:
    from conftest import Size

    from aether import EmbeddedServer

SAMPLE = Path(str(importlib.resources.files("aether") / "data" / "flights-sample.ndjson.gz"))
WHOLE = Path(__file__).parents[2] / "benches" / "data" / "flights.ndjson.gz"


def record(actor: str, event_id: str, **changes: Any) -> bytes:
    """Return a line."""
    fields = {"id": event_id, "actor_id": actor, "event_type": "T", "timestamp": "2013-01-01T10:17:00Z", "data": {"n": 1}}
    return json.dumps({**fields, **changes}).encode() + b"\n"


async def stored_ids(url: str, namespace: str) -> dict[str, list[str]]:
    """Return each actor's ids in the stream's order, by the stock client."""
    ids = defaultdict(list)
    for commit in await stock_dump(url, namespace):
        ids[commit["actor"]] += [_id(event["id"]) for event in commit["events"]]
    return dict(ids)


def _id(raw: bytes | str) -> str:
    return raw if isinstance(raw, str) else str(uuid.UUID(bytes=raw))


async def test_the_flights_file_imports_completely_and_a_second_time_changes_nothing(
    nats_server: EmbeddedServer, namespace: str, size: Size
) -> None:
    """Every line is in the stream once, in each actor's order, as a stock client and a stock msgpack reader see it, twice."""
    file = size.pick(SAMPLE, WHOLE, WHOLE)
    expected = defaultdict(list)
    lines = gzip.decompress(file.read_bytes()).splitlines()
    for line in lines:
        fields = json.loads(line)
        expected[fields["actor_id"]].append((fields["id"], fields["event_type"], fields["data"]))
    target = ("--url", nats_server.url, "--namespace", namespace)

    first = aether("import", str(file), *target, "--json")
    assert first.code == 0, first.err
    told = first.told
    number = len(lines)
    assert (told["read"], told["saved"], told["already_there"], told["conflicts"]) == (number, number, 0, 0)
    commits = await stock_dump(nats_server.url, namespace)
    stored = defaultdict(list)
    for commit in commits:
        stored[commit["actor"]] += [(_id(event["id"]), event["type"], event["data"]) for event in commit["events"]]
        versions = [event["version"] for event in commit["events"]]
        assert versions == list(range(len(stored[commit["actor"]]) - len(versions) + 1, len(stored[commit["actor"]]) + 1))
    assert stored == expected
    assert len(commits) == told["commits"]

    second = aether("import", str(file), *target)
    assert second.code == 0, second.err
    assert second.out.startswith(f"{number:,} read, 0 saved, {number:,} already there (")
    assert "Nothing changed." in second.out
    assert await stock_dump(nats_server.url, namespace) == commits


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
@pytest.mark.parametrize("through", ["file", "stdin"])
async def test_plain_and_gzip_are_told_apart_by_their_bytes(
    nats_server: EmbeddedServer, namespace: str, tmp_path: Path, packed: bool, through: str
) -> None:
    """No name is needed: a file of any name and stdin are read, packed or not."""
    content = record("a", "x") + record("b", "y") + record("a", "z")
    content = gzip.compress(content) if packed else content
    (tmp_path / "input").write_bytes(content)
    name, stdin = (str(tmp_path / "input"), b"") if through == "file" else ("-", content)
    done = aether("import", name, "--url", nats_server.url, "--namespace", namespace, stdin=stdin)
    assert (done.code, done.out.split(" (")[0]) == (0, "3 read, 3 saved, 0 already there")
    assert await stored_ids(nats_server.url, namespace) == {"a": ["x", "z"], "b": ["y"]}


async def test_a_bad_line_stops_the_import_and_says_where_and_what_to_type(nats_server: EmbeddedServer, namespace: str) -> None:
    """What stands in front of the line is stored, nothing behind it, and --on-error skip (or --skip-bad) stores the rest."""
    lines = record("a", "x") + b'{"id": "y"}\n' + record("a", "z")
    target = ("import", "-", "--url", nats_server.url, "--namespace", namespace)
    done = aether(*target, stdin=lines)
    assert done.code == 1
    assert "aether: line 2: Object missing required field `actor_id`" in done.err
    assert "Stopped at line 2: nothing behind it was saved." in done.out
    assert "--on-error skip" in done.out
    assert await stored_ids(nats_server.url, namespace) == {"a": ["x"]}
    done = aether(*target, "--skip-bad", "--json", stdin=lines)
    assert done.code == 0
    told = done.told
    assert (told["saved"], told["already_there"], told["bad"]) == (1, 1, 1)
    assert told["faults"] == [{"kind": "bad", "line": 2, "reason": "Object missing required field `actor_id`"}]
    assert await stored_ids(nats_server.url, namespace) == {"a": ["x", "z"]}


@pytest.mark.parametrize("words", [("--on-error", "quarantine"), ("--on-error=quarantine",)], ids=["apart", "together"])
async def test_bad_lines_are_put_into_a_file_and_can_be_corrected_there(
    nats_server: EmbeddedServer, namespace: str, tmp_path: Path, words: tuple[str, ...]
) -> None:
    """The file has the bad lines byte for byte, a second run writes the same, and a dry run none; the input itself is refused."""
    lines, file, bad = record("a", "x") + b'{"id": "y"}\r\n' + record("a", "z") + b"\xff", tmp_path / "input", tmp_path / "bad"
    file.write_bytes(lines)
    command = ("import", *words, str(bad), str(file), "--url", nats_server.url, "--namespace", namespace)
    assert aether(*command, "--dry-run").code == 0
    assert not bad.exists()
    for saved in (2, 0):
        done = aether(*command)
        assert (done.code, done.out.split(" (")[0]) == (
            0,
            f"2 read, {saved} saved, {2 - saved} already there, 2 bad lines",
        )
        assert bad.read_bytes() == b'{"id": "y"}\r\n\xff\n'
    assert await stored_ids(nats_server.url, namespace) == {"a": ["x", "z"]}
    bad.write_bytes(record("a", "y"))
    done = aether("import", *words, str(bad), str(bad), "--url", nats_server.url, "--namespace", namespace)
    assert (done.code, bad.read_bytes()) == (2, record("a", "y"))
    assert "is the input itself" in done.err


async def test_an_equal_id_with_other_content_is_a_conflict(nats_server: EmbeddedServer, namespace: str) -> None:
    """It is reported with its line, makes the exit code 1, and changes nothing that is stored."""
    target = ("import", "-", "--url", nats_server.url, "--namespace", namespace)
    assert aether(*target, stdin=record("a", "x")).code == 0
    done = aether(*target, stdin=record("a", "new") + record("a", "x", data={"n": 2}))
    assert done.code == 1
    assert "aether: line 2: conflict: the event 'x' of 'a' is there already at version 1, with other content" in done.err
    assert "2 read, 1 saved, 0 already there, 1 in conflict" in done.out
    commits = await stock_dump(nats_server.url, namespace)
    assert [event["data"] for commit in commits for event in commit["events"]] == [{"n": 1}, {"n": 1}]


async def test_a_dry_run_writes_nothing_at_all(nats_server: EmbeddedServer, namespace: str) -> None:
    """Neither an event nor a stream is made; once there are events, they are looked at and left as they are."""
    target = ("import", "-", "--url", nats_server.url, "--namespace", namespace)
    lines = record("a", "x") + record("a", "y")
    done = aether(*target, "--dry-run", stdin=lines)
    assert (done.code, "2 read, 2 would be saved" in done.out, "nothing was written" in done.out) == (0, True, True)
    assert await count_messages(nats_server.url, namespace) is None
    aether(*target, stdin=record("a", "x"))
    done = aether(*target, "--dry-run", "--json", stdin=lines + record("a", "x", data=0))
    assert done.code == 1
    assert (done.told["saved"], done.told["already_there"], done.told["conflicts"]) == (1, 1, 1)
    assert await stored_ids(nats_server.url, namespace) == {"a": ["x"]}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_finishes_what_is_in_flight_and_says_where_it_stood(
    nats_server: EmbeddedServer, namespace: str, number: signal.Signals
) -> None:
    """An import from a pipe that never ends shows its progress, and the first Ctrl-C, or SIGTERM, ends it in order."""
    target = ("--url", nats_server.url, "--namespace", namespace)
    with running("import", "-", *target) as importing:
        importing.type(record("a", "x") + record("b", "y"))
        importing.wait_for("aether: 2 events, ")
        importing.process.send_signal(number)
        done = importing.end()
    assert done.code == 130
    assert "2 read, 2 saved, 0 already there" in done.out
    assert "every line up to 2 is settled" in done.out
    assert await stored_ids(nats_server.url, namespace) == {"a": ["x"], "b": ["y"]}


async def test_an_import_killed_anywhere_is_completed_by_the_next_one(nats_server: EmbeddedServer, namespace: str) -> None:
    """After kill -9 in the middle, a second run stores the rest, and no event twice."""
    target = ("--url", nats_server.url, "--namespace", namespace)
    lines = b"".join(record(f"a{number % 500}", f"e{number}") for number in range(4_000))

    with running("import", "-", *target) as importing:
        importing.type(lines)
        while (await count_messages(nats_server.url, namespace) or 0) < 50:
            assert importing.process.poll() is None
        importing.process.kill()
        wait_until(lambda: importing.process.poll() is not None, "the end of the import")
    before = sum(map(len, (await stored_ids(nats_server.url, namespace)).values()))
    done = aether("import", "-", *target, "--json", stdin=lines)
    assert done.code == 0
    assert (done.told["saved"], done.told["already_there"]) == (4_000 - before, before)
    stored = await stored_ids(nats_server.url, namespace)
    assert stored == {f"a{actor}": [f"e{number}" for number in range(actor, 4_000, 500)] for actor in range(500)}


async def test_commits_stay_below_a_small_max_payload(namespace: str) -> None:
    """Events that would not fit together become several commits, and one that fits none is a bad line."""
    lines = b"".join(record("a", str(number), data="x" * 20_000) for number in range(30))
    lines += record("a", "big", data="x" * 70_000)
    with running_server({"max_payload": 65_536}) as server:
        done = aether("import", "-", "--url", server.url, "--namespace", namespace, stdin=lines)
        assert done.code == 1
        assert "line 31: the event takes 70," in done.err
        assert "raise the server's max_payload" in done.err
        commits = await stock_dump(server.url, namespace)
    assert [event["id"] for commit in commits for event in commit["events"]] == [str(number) for number in range(30)]
    assert max(len(commit["events"]) for commit in commits) in (2, 3)


async def test_other_forms_are_told_by_the_files_name_or_by_an_option(
    nats_server: EmbeddedServer, namespace: str, tmp_path: Path
) -> None:
    """A CSV is mapped by rules, and what no rule can be is a usage error; CloudEvents are said to be some."""
    target = ("--url", nats_server.url, "--namespace", namespace)
    (tmp_path / "x.csv.gz").write_bytes(gzip.compress(b"no;who;n\n1;a;7\n2;a;8\n"))
    rules = ("--map", "id=no", "--map", "actor_id=who", "--map", "event_type==T", "--map", "timestamp==2013-01-01T10:17:00Z")
    done = aether("import", str(tmp_path / "x.csv.gz"), *rules, "--map", "data.n:int=n", "--delimiter", ";", *target)
    assert (done.code, done.out.split(" (")[0]) == (0, "2 read, 2 saved, 0 already there"), done.err
    event = {"specversion": "1.0", "id": "3", "source": "/s", "type": "T", "subject": "a", "time": "2013-01-01T10:17:00Z"}
    done = aether("import", "-", "--format", "cloudevents", *target, stdin=json.dumps(event).encode())
    assert done.code == 0, done.err
    assert await stored_ids(nats_server.url, namespace) == {"a": ["1", "2", "3"]}
    for wrong in (("--map", "colour=x"), ("--map", "id=nothing")):
        done = aether("import", str(tmp_path / "x.csv.gz"), *wrong, *target)
        assert done.code != 0
        assert "aether: " in done.err
    done = aether("import", "-", "--format", "parquet", *target)
    assert done.code != 0
    assert "read from a file, not from a pipe" in done.err
    assert aether("import", "-", "--delimiter", "::", *target).code == 2
