"""Namespaces, and the subjects and streams that belong to one.

Events lie on `aether.<namespace>.<shard>.<token>`; no id can reach another actor's subject, because a token holds no dot, no
wildcard and no space. `docs/format.md` has the whole scheme.
"""

from __future__ import annotations

import re

from aether._native import actor_subject, token_encode
from aether.errors import InvalidIdError

__all__ = [
    "SHARDS",
    "actor_subject",
    "bus_filter",
    "bus_queue",
    "check_namespace",
    "coordination_filter",
    "coordination_stream",
    "election_subject",
    "epoch_subject",
    "events_filter",
    "events_stream",
    "leader_subject",
    "member_subject",
    "members_prefix",
    "node_subject",
    "shard_filter",
    "snapshot_subject",
    "snapshots_filter",
    "snapshots_stream",
    "table_subject",
]

SHARDS = 1021
"""Into so many the actors of a namespace are divided, for ever: a stream's metadata names it."""

_NAMESPACE = re.compile(r"[A-Za-z0-9_-]{1,64}")


def check_namespace(namespace: str) -> str:
    """Return the namespace, or refuse what cannot be one.

    Raises:
        InvalidIdError: it is not 1 to 64 characters of A-Z, a-z, 0-9, `_` and `-`.
    """
    if not isinstance(namespace, str):
        raise TypeError(f"namespace must be a str, not {type(namespace).__name__}")
    if not _NAMESPACE.fullmatch(namespace):
        raise InvalidIdError("namespace", namespace, "must be 1 to 64 characters of A-Z, a-z, 0-9, _ and -")
    return namespace


def events_stream(namespace: str) -> str:
    """Name the stream that holds a namespace's events."""
    return f"AETHER-EVENTS-{namespace}"


def events_filter(namespace: str) -> str:
    """Name every event subject of a namespace."""
    return f"aether.{namespace}.*.*"


def shard_filter(namespace: str, shard: int) -> str:
    """Name every subject of a shard, its epoch records included: what owners guard their writes with, letter by letter."""
    return f"aether.{namespace}.{shard}.>"


def epoch_subject(namespace: str, shard: int) -> str:
    """Name the subject of a shard's epoch records; no actor has it."""
    return f"aether.{namespace}.{shard}.=epoch"


def snapshots_stream(namespace: str) -> str:
    """Name the stream that holds a namespace's snapshots."""
    return f"AETHER-SNAPSHOTS-{namespace}"


def snapshots_filter(namespace: str) -> str:
    """Name every snapshot subject of a namespace."""
    return f"aether-snap.{namespace}.*"


def snapshot_subject(namespace: str, actor_id: str) -> str:
    """Name the subject of one actor's snapshots."""
    return f"aether-snap.{namespace}.{token_encode(actor_id)}"


def coordination_stream(namespace: str) -> str:
    """Name the stream that holds a namespace's leases, and its table of shards."""
    return f"AETHER-COORD-{namespace}"


def coordination_filter(namespace: str) -> str:
    """Name every coordination subject of a namespace."""
    return f"aether-coord.{namespace}.>"


def election_subject(namespace: str, group: str) -> str:
    """Name the subject of a group's lease on leadership."""
    return f"aether-coord.{namespace}.election.{token_encode(group)}"


def leader_subject(namespace: str) -> str:
    """Name the subject of the lease of the cluster's own leader; no group's name makes this token."""
    return f"aether-coord.{namespace}.election.=leader"


def member_subject(namespace: str, node: str) -> str:
    """Name the subject of a node's lease on its membership."""
    return f"{members_prefix(namespace)}{token_encode(node)}"


def members_prefix(namespace: str) -> str:
    """Return what every member's subject begins with."""
    return f"aether-coord.{namespace}.member."


def table_subject(namespace: str) -> str:
    """Name the subject of the table that says which node owns which shard."""
    return f"aether-coord.{namespace}.table"


def node_subject(namespace: str, node: str, verb: str) -> str:
    """Name the subject on which a node takes requests of other nodes; never stored."""
    return f"aether-node.{namespace}.{token_encode(node)}.{verb}"


def bus_filter(namespace: str | None, actor_id: str | None, event_type: str | None) -> str:
    """Name the bus's subjects of a namespace, an actor and a type; what is not given is any."""
    actor, kind = ("*" if name is None else token_encode(name) for name in (actor_id, event_type))
    return f"aether-bus.{namespace or '*'}.{actor}.{kind}"


def bus_queue(namespace: str | None, group: str, actor_prefix: str) -> str:
    """Name the queue of a group's members on the server.

    Those with another prefix are another group, because the server picks the member before the prefix is looked at. Those of
    all namespaces are another one too: they take no event away from a namespace's own group.
    """
    scope = "" if namespace is not None else "=all."
    return f"{scope}{token_encode(group)}.{token_encode(actor_prefix)}" if actor_prefix else f"{scope}{token_encode(group)}"
