"""What must hold of a shard that several processes took from each other: judged by the raw stream and by what they were told."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from faults.dump import Stored


class Accepted(NamedTuple):
    """A write that its caller was told is stored.

    Attributes:
        epoch: under which epoch it was written, as its owner saw it; 0: that changed meanwhile.
        position: where.
        event_id: the id of its one event.
    """

    epoch: int
    position: int
    event_id: str


def epoch_violations(stored: Sequence[Stored], accepted: Iterable[Accepted], refused: Iterable[str] = ()) -> list[str]:
    """Return what is wrong: epochs that interleave, accepted writes that are not there, events twice, versions with a gap.

    Args:
        stored: the whole stream, in order; any number of shards.
        accepted: what all owners were told is stored.
        refused: the ids of events of which owners were promised that they are not stored.
    """
    wrong: list[str] = []
    epochs: dict[str, int] = {}
    versions: dict[str, int] = {}
    seen: dict[str, int] = {}
    found: dict[int, tuple[int | None, list[str]]] = {}
    for message in stored:
        shard = message.subject.split(".")[2]
        if message.is_epoch:
            epochs[shard] = message.position
            continue
        commit, now, ids = message.commit, epochs.get(shard), message.ids
        found[message.position] = commit.get("epoch"), ids
        if commit.get("epoch") != now:
            wrong.append(f"position {message.position} is of epoch {commit.get('epoch')}, behind the record of epoch {now}")
        for event in commit["events"]:
            version, before = event["version"], versions.get(commit["actor"], 0)
            if version != before + 1:
                wrong.append(f"position {message.position}: version {version} of {commit['actor']} follows {before}")
            versions[commit["actor"]] = version
        for event_id in ids:
            if event_id in seen:
                wrong.append(f"event {event_id} is at {seen[event_id]} and at {message.position}")
            seen[event_id] = message.position
    for write in accepted:
        epoch, ids = found.get(write.position, (None, []))
        if write.event_id not in ids or (write.epoch and epoch != write.epoch):
            wrong.append(f"{write} was acked, and is not there")
    wrong += [f"event {event_id} was refused, and is at {seen[event_id]}" for event_id in refused if event_id in seen]
    return wrong
