"""An audit of a cluster's namespace that trusts nothing of Aether's: did epochs interleave, and was each command done once?

Like `audit`, it reads the raw stream by nats-py, msgspec's msgpack and zlib, as docs/format.md describes it.
"""

from __future__ import annotations

from collections import Counter
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aether.cli.audit import EPOCH, Findings, Raw, checked, read_stream

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["ClusterAudit", "Raw", "judge", "raw_dump"]


@dataclass
class ClusterAudit(Findings):
    """What was found; everything from `interleaved` on counts what must not be.

    Attributes:
        messages: messages in the stream.
        takeovers: epoch records.
        commands: commands that left events.
        acked: commands that were answered.
        unanswered: commands in the stream of which whoever asked never heard; that is no fault.
        interleaved: commits that name another epoch than the last one of their shard.
        gaps: commits whose first version does not follow the actor's last one.
        twice: commands that are in more than one commit.
        missing: commands that were answered, and are not in the stream.
        altered: commands whose event is not what was answered.
        unreadable: messages that are neither commits nor epoch records.
        examples: the first of these, in words.
    """

    messages: int = 0
    takeovers: int = 0
    commands: int = 0
    acked: int = 0
    unanswered: int = 0
    interleaved: int = 0
    gaps: int = 0
    twice: int = 0
    missing: int = 0
    altered: int = 0
    unreadable: int = 0
    examples: list[str] = field(default_factory=list)

    kinds = ("interleaved", "gaps", "twice", "missing", "altered", "unreadable")


async def raw_dump(url: str, namespace: str) -> list[Raw]:
    """Read a namespace's whole event stream."""
    async with aclosing(read_stream(url, namespace)) as parts:
        return [message async for part in parts for message in part]


def judge(messages: Iterable[Raw], acked: dict[tuple[str, str], Any]) -> ClusterAudit:
    """Compare a stream with what was answered.

    Args:
        messages: the stream, in its order.
        acked: for each actor and command id, the data that the command's last event must have.
    """
    found = ClusterAudit(acked=len(acked))
    epochs: dict[str, int] = {}
    versions: Counter[str] = Counter()
    done: dict[tuple[str, str], int] = {}
    for position, subject, body in messages:
        found.messages += 1
        _, _, shard, token = subject.split(".")
        sound = checked(body)
        if sound is None or not ("events" in sound or "node" in sound):
            found.note("unreadable", f"message {position}")
        elif token == EPOCH:
            found.takeovers += 1
            epochs[shard] = position
        else:
            if sound.get("epoch") != epochs.get(shard):
                found.note("interleaved", f"{position} was written under {sound.get('epoch')}, after {epochs.get(shard)} began")
            _count_events(found, sound, position, (versions, done))
            _compare(found, sound, acked)
    for actor_id, command_id in acked.keys() - done.keys():
        found.note("missing", f"the command {command_id} of {actor_id}")
    found.commands, found.unanswered = len(done), len(done.keys() - acked.keys())
    return found


def _count_events(
    found: ClusterAudit, commit: dict[str, Any], position: int, seen: tuple[Counter[str], dict[tuple[str, str], int]]
) -> None:
    """Add one commit's events to what was seen: each actor's latest version, and where each command lies."""
    versions, done = seen
    actor_id = commit["actor"]
    for event in commit["events"]:
        if event["version"] != versions[actor_id] + 1:
            found.note("gaps", f"{actor_id} goes from {versions[actor_id]} to {event['version']} at {position}")
        versions[actor_id] = event["version"]
        key = (actor_id, event["meta"].get("command_id", ""))
        if done.setdefault(key, position) != position:
            found.note("twice", f"the command {key[1]} of {actor_id}, at {done[key]} and {position}")


def _compare(found: ClusterAudit, commit: dict[str, Any], acked: dict[tuple[str, str], Any]) -> None:
    """Compare a commit's last event with what was answered, if it was."""
    last = commit["events"][-1]
    key = (commit["actor"], last["meta"].get("command_id", ""))
    if key in acked and acked[key] != last["data"]:
        found.note("altered", f"the command {key[1]} of {key[0]}: {last['data']}, answered was {acked[key]}")
