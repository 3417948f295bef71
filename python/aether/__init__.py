"""Event-sourcing primitives on NATS JetStream, with a Rust core.

Events are immutable, state is derived by replaying them, and strictly increasing versions per actor keep concurrent writers
consistent. `aether.sync` has the same names without `await`.
"""

from __future__ import annotations

from aether import codec
from aether.errors import *  # noqa: F403 - every error, as errors.__all__ lists them
from aether.errors import __all__ as _errors
from aether.event import Event, NewEvent, Snapshot
from aether.nats.server import EmbeddedServer
from aether.store.base import Appended, EventStore, SnapshotStore, StoreInfo
from aether.store.jetstream import JetStreamEventStore
from aether.store.memory import InMemoryEventStore

__all__ = sorted(
    [
        *_errors,
        "Appended",
        "EmbeddedServer",
        "Event",
        "EventStore",
        "InMemoryEventStore",
        "JetStreamEventStore",
        "NewEvent",
        "Snapshot",
        "SnapshotStore",
        "StoreInfo",
        "codec",
    ]
)
