"""Processes that own the shards of a namespace and write to them without a rest, and what they were told, read while they run."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import Counter, defaultdict
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from aether._native import shard_of
from faults.dump import dump_fast
from faults.epochs import Accepted, epoch_violations

if TYPE_CHECKING:
    import random
    from collections.abc import AsyncIterator, Callable, Iterable, Sequence

    from faults.dump import Stored

WORKER = Path(__file__).parents[1] / "owner_worker.py"
SHARDS = 72
"""How many shards are written to: so many that a node which owns its part of all of them surely owns some of these, also one of
five. With 24 shards one of three nodes had none of them in two runs of a hundred, and was waited for in vain."""

PATIENCE_S = 180.0
POLL_S = 0.1
RECENT = 500
OLD_S = 3.0
STDERR_CHARACTERS = 3_000


class Written(NamedTuple):
    """A write that was accepted.

    Attributes:
        at: when its caller knew, on the machine's monotonic clock.
        node: the node.
        write: what it was told.
    """

    at: float
    node: str
    write: Accepted


@dataclass(kw_only=True)
class Settings:
    """What all nodes of a group have in common.

    Attributes:
        ttl: how long a lease lives, in seconds.
        replicas: how many servers hold the namespace.
        pause_s: about how long a writer rests between two writes to an actor, in seconds.
        timeout_s: what each write may take.
        block_s: for how long a loop is blocked when it is.
        clock: "honest" or "stopped", see `owner_worker.py`.
        bug: the planted bug.
    """

    ttl: int = 3
    replicas: int = 1
    pause_s: float = 0.9
    timeout_s: float = 10.0
    block_s: float = 5.0
    clock: str = "honest"
    bug: str = "none"


class Owner:
    """One process."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, log: Path, url: str) -> None:
        self.name, self.process, self.log, self.url = name, process, log, url
        self.life: list[tuple[str, float]] = []
        self.may_end = False
        self._read = 0

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid

    @property
    def runs(self) -> bool:
        """Whether it was not ended, and did not end."""
        return self.process.returncode is None

    def news(self) -> Iterable[list[Any]]:
        """Return the whole lines that came since the last call."""
        if not self.log.exists():
            return []
        with self.log.open("rb") as file:
            file.seek(self._read)
            text = file.read()
        whole = text[: text.rfind(b"\n") + 1]
        self._read += len(whole)
        return map(json.loads, whole.splitlines())

    def since(self, what: str, at: float) -> bool:
        """Say whether something was noted of its membership after that."""
        return any(kind == what and then > at for kind, then in self.life)

    def leave(self) -> None:
        """Tell it to leave, by SIGTERM."""
        self.may_end = True
        self.process.terminate()

    async def kill(self) -> float:
        """Kill it with SIGKILL; return when."""
        at, self.may_end = time.monotonic(), True
        if self.runs:
            self.process.kill()
        await self.process.wait()
        return at


@dataclass
class Told:
    """What the owners of a group were told.

    Attributes:
        written: accepted writes by shard, in the order in which they were read.
        ingested: the ids of events that a pipeline stored.
        refused: the ids of events of which it was promised that they are not stored.
        kinds: how often each answer was given.
    """

    written: dict[int, list[Written]] = field(default_factory=lambda: defaultdict(list))
    ingested: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    kinds: Counter[str] = field(default_factory=Counter)

    def take(self, owner: Owner) -> None:
        """Take what a process has noted since the last time."""
        for what, at, *facts in owner.news():
            self.kinds[what] += 1
            if what == "accepted":
                shard, *write = facts
                self.written[shard].append(Written(at, owner.name, Accepted(*write)))
            elif what == "ingested":
                self.ingested += facts[0]
            elif what == "refused":
                self.refused.append(facts[1])
                self.kinds[f"refused: {facts[2].partition('(')[0]}"] += 1
            elif what != "unknown":
                owner.life.append((what, at))

    @property
    def accepted(self) -> list[Accepted]:
        """All writes that were accepted."""
        return [written.write for all_of in self.written.values() for written in all_of]


class Group:
    """The owners of one namespace.

    Args:
        url: of the server; a node may be given another.
        namespace: the namespace.
        directory: where the notes lie.
        dice: what is chosen at random.
        settings: what all nodes have in common.
    """

    def __init__(self, url: str, namespace: str, directory: Path, dice: random.Random, settings: Settings) -> None:
        self.url, self.namespace, self.directory, self.dice, self.settings = url, namespace, directory, dice, settings
        self.directory.mkdir(parents=True, exist_ok=True)
        chosen: dict[int, str] = {}
        while len(chosen) < SHARDS:
            actor = f"actor-{dice.randrange(10**9)}"
            chosen.setdefault(shard_of(actor), actor)
        self.shards = frozenset(chosen)
        self._actors = [*chosen.values()]
        self.told = Told()
        self.owners: list[Owner] = []
        self.count = 0

    def running(self) -> list[Owner]:
        """The processes that run."""
        return [owner for owner in self.owners if owner.runs]

    async def start(self, *, name: str | None = None, url: str | None = None) -> Owner:
        """Start a node, under a new name unless one is given; it is not waited for."""
        self.count += 1
        name = name or f"n{self.count}"
        log = self.directory / f"{self.count}.log"
        told = {
            **vars(self.settings),
            "url": url or self.url,
            "namespace": self.namespace,
            "node": name,
            "log": str(log),
            "actors": self._actors,
        }
        with log.with_suffix(".err").open("wb") as errors:
            process = await asyncio.create_subprocess_exec(sys.executable, str(WORKER), json.dumps(told), stderr=errors)
        self.owners.append(Owner(name, process, log, url or self.url))
        return self.owners[-1]

    def read(self) -> None:
        """Read what was noted since the last time, and fail where a process ended that was not told to."""
        for owner in self.owners:
            self.told.take(owner)
            assert owner.runs or owner.may_end, f"{owner.name} ended by itself\n{self.story()}"

    def written_since(self, at: float) -> dict[int, list[Written]]:
        """The accepted writes after that, of each shard that has some."""
        late = {
            shard: [*takewhile(lambda write: write.at > at, reversed(written[-RECENT:]))][::-1]
            for shard, written in self.told.written.items()
        }
        return {shard: written for shard, written in late.items() if written}

    async def until(self, is_so: Callable[[], object], what: str, limit_s: float = PATIENCE_S) -> None:
        """Read until something is so, or fail with what the processes said."""
        deadline = time.monotonic() + limit_s
        while True:
            self.read()
            if is_so():
                return
            assert time.monotonic() < deadline, f"after {limit_s:g} s still not: {what}\n{self.story()}"
            await asyncio.sleep(POLL_S)

    async def all_written(self, since: float, by: Iterable[Owner]) -> None:
        """Wait until every shard was written to after that by some of these, and each of them wrote."""
        names = {owner.name for owner in by}

        def is_so() -> bool:
            writers = {shard: {write.node for write in late} & names for shard, late in self.written_since(since).items()}
            return all(writers.get(shard) for shard in self.shards) and names <= set().union(*writers.values())

        await self.until(is_so, f"every shard of {self.namespace} is written to by {names}, and each of them writes")

    async def pause(self, seconds: float) -> None:
        """Go on reading for a while."""
        until = time.monotonic() + seconds
        await self.until(lambda: time.monotonic() >= until, f"{seconds:g} s are over")

    def owned(self, owner: Owner, within_s: float = OLD_S) -> set[int]:
        """The shards whose last write is this node's, and not old."""
        now = time.monotonic()
        return {
            shard
            for shard, written in self.told.written.items()
            if written[-1].node == owner.name and written[-1].at > now - within_s
        }

    async def check(self, url: Any = None) -> list[str]:
        """End all processes, and return what is wrong with the raw stream."""
        await asyncio.gather(*(owner.kill() for owner in self.owners))
        return await self.judge(url)

    async def judge(self, url: Any = None) -> list[str]:
        """Return what is wrong with the raw stream by what was told so far."""
        self.read()
        stored = await dump_fast(url or self.url, self.namespace)
        told = self.told
        ids = {event_id for message in stored if not message.is_epoch for event_id in message.ids}
        lost = [f"event {event_id} was ingested, and is not there" for event_id in told.ingested if event_id not in ids]
        return [*lost, *epoch_violations(stored, told.accepted, told.refused), *self._strangers(stored)]

    def _strangers(self, stored: Sequence[Stored]) -> Iterable[str]:
        """Yield each commit that was not written by a process of this group, or by another node than took the shard."""
        processes = {f"{owner.name}/{owner.pid}" for owner in self.owners}
        nodes = {message.position: message.commit["node"] for message in stored if message.is_epoch}
        for message in stored:
            if not message.is_epoch:
                writers = {event_id.rpartition("/")[0] for event_id in message.ids}
                if not writers <= processes:
                    yield f"position {message.position} is of {writers}, who are none of {self.namespace}"
                node = nodes.get(message.commit["epoch"])
                if writers != {f"{node}/{process.partition('/')[2]}" for process in writers}:
                    yield f"position {message.position} is of {writers}, in an epoch of {node}"

    def story(self) -> str:
        """What is known, for who looks for the reason of a failure."""
        lines = [f"{self.namespace}: {dict(self.told.kinds)}"]
        for owner in self.owners[-6:]:
            errors = owner.log.with_suffix(".err").read_text(errors="replace")[-STDERR_CHARACTERS:]
            lines.append(
                f"{owner.name} at {owner.url}, {owner.process.returncode}, {owner.life[-4:]}, owns {self.owned(owner)}: {errors}"
            )
        return "\n".join(lines)


@asynccontextmanager
async def group(
    url: str, namespace: str, directory: Path, dice: random.Random, settings: Settings, *, nodes: int = 3
) -> AsyncIterator[Group]:
    """Run some nodes of a namespace, from the moment on when each of them writes."""
    made = Group(url, namespace, directory / namespace, dice, settings)
    try:
        for _ in range(nodes):
            await made.start()
        await made.all_written(0.0, made.running())
        yield made
    finally:
        await asyncio.gather(*(owner.kill() for owner in made.owners))
