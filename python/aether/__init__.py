"""Event-sourcing primitives on NATS JetStream, with a Rust core.

Events are immutable, state is derived by replaying them, and strictly increasing versions per actor keep concurrent writers
consistent. `aether.sync` has the same names without `await`.
"""

from __future__ import annotations

from aether import codec
from aether._native import ArrowBatch, ArrowTable
from aether.bus.base import BusInfo, EventBus, Subscription, SubscriptionStats
from aether.bus.local import LocalEventBus
from aether.bus.nats import NATSEventBus
from aether.bus.publishing import PublishingEventStore
from aether.cluster.actors import Behaviour
from aether.cluster.changes import ClusterChange
from aether.cluster.election import LeaderElection
from aether.cluster.host import ActorHost, HostStats
from aether.cluster.leadership import Leader, Leadership, LossSignal
from aether.cluster.members import Member
from aether.cluster.node import ClusterNode
from aether.errors import (
    AccessDeniedError,
    AetherError,
    CommandFailedError,
    CommandUnknownError,
    CommitTooLargeError,
    CorruptEventError,
    DeadlineError,
    DecodeError,
    EncodeError,
    IdConflictError,
    IngestError,
    InvalidIdError,
    LoopInUseError,
    MissingExtraError,
    NamespaceMismatchError,
    NoSubscriberError,
    NotDrainedError,
    NotLeaderError,
    NotOwnerError,
    NotPublishedError,
    OutcomeUnknownError,
    PublishInterruptedError,
    RequestFailedError,
    ServerRefusedError,
    ServersUnreachableError,
    ServerUnavailableError,
    ShardUnavailableError,
    StoreDirectoryInUseError,
    StoreFullError,
    SubscriptionInterruptedError,
    SubscriptionLaggedError,
    UnknownFormatError,
    UnsupportedServerError,
    VersionConflictError,
    VersionsUsedUpError,
)
from aether.event import Event, NewEvent, Snapshot
from aether.nats.connect_options import ConnectOptions
from aether.nats.server import EmbeddedServer
from aether.store.base import Appended, ArrowStream, EventBatch, EventStore, SnapshotStore, StoreInfo
from aether.store.ingest_base import IngestOutcome, IngestPipeline, IngestStats
from aether.store.jetstream import JetStreamEventStore
from aether.store.memory import InMemoryEventStore

__all__ = [
    "AccessDeniedError",
    "ActorHost",
    "AetherError",
    "Appended",
    "ArrowBatch",
    "ArrowStream",
    "ArrowTable",
    "Behaviour",
    "BusInfo",
    "ClusterChange",
    "ClusterNode",
    "CommandFailedError",
    "CommandUnknownError",
    "CommitTooLargeError",
    "ConnectOptions",
    "CorruptEventError",
    "DeadlineError",
    "DecodeError",
    "EmbeddedServer",
    "EncodeError",
    "Event",
    "EventBatch",
    "EventBus",
    "EventStore",
    "HostStats",
    "IdConflictError",
    "InMemoryEventStore",
    "IngestError",
    "IngestOutcome",
    "IngestPipeline",
    "IngestStats",
    "InvalidIdError",
    "JetStreamEventStore",
    "Leader",
    "LeaderElection",
    "Leadership",
    "LocalEventBus",
    "LoopInUseError",
    "LossSignal",
    "Member",
    "MissingExtraError",
    "NATSEventBus",
    "NamespaceMismatchError",
    "NewEvent",
    "NoSubscriberError",
    "NotDrainedError",
    "NotLeaderError",
    "NotOwnerError",
    "NotPublishedError",
    "OutcomeUnknownError",
    "PublishInterruptedError",
    "PublishingEventStore",
    "RequestFailedError",
    "ServerRefusedError",
    "ServerUnavailableError",
    "ServersUnreachableError",
    "ShardUnavailableError",
    "Snapshot",
    "SnapshotStore",
    "StoreDirectoryInUseError",
    "StoreFullError",
    "StoreInfo",
    "Subscription",
    "SubscriptionInterruptedError",
    "SubscriptionLaggedError",
    "SubscriptionStats",
    "UnknownFormatError",
    "UnsupportedServerError",
    "VersionConflictError",
    "VersionsUsedUpError",
    "codec",
]
