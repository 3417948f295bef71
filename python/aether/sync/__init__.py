"""The names of `aether` without `await`: for scripts, threads and code without an event loop.

Values, errors and the codec are those of `aether`. Stores and servers have the same constructors and methods, but block:
`with` instead of `async with`, `close` instead of `aclose`, `for` instead of `async for`.
"""

from __future__ import annotations

from aether import *  # noqa: F403 - whatever is no face of its own below is the very same object
from aether import __all__
from aether.bus import base as bus_base
from aether.bus import local, publishing
from aether.bus import nats as bus_nats
from aether.bus.subscription import BusSubscription, Reading
from aether.cluster import election, host, leadership, node
from aether.cluster.changes import ChangeFeed
from aether.nats import server
from aether.store import base, ingest_base, jetstream, memory, memory_pipeline, pipeline
from aether.store.arrow import EventColumns
from aether.store.fenced import FencedEventStore
from aether.store.fenced_pipeline import FencedPipeline
from aether.store.ingesting import Outcomes
from aether.sync._derive import blocking, blocking_protocol
from aether.sync._runner import Direct, Portal

__all__ = list(__all__)

BUS_PARTS: dict[str, type] = {"subscribe": BusSubscription, "batches": Reading, "namespaced": Reading}
"""What a bus makes that has coroutines of its own."""

STORE_PARTS: dict[str, type] = {"arrow": EventColumns, "outcomes": Outcomes}
"""What a store, or a pipeline of one, makes that has coroutines of its own; its pipeline itself is beside these."""

ArrowStream = blocking_protocol(base.ArrowStream)
EventStore = blocking_protocol(base.EventStore)
SnapshotStore = blocking_protocol(base.SnapshotStore)
IngestPipeline = blocking_protocol(ingest_base.IngestPipeline)
EventBus = blocking_protocol(bus_base.EventBus)
Subscription = blocking_protocol(bus_base.Subscription)
LocalEventBus = blocking(local.LocalEventBus, Portal, BUS_PARTS)
NATSEventBus = blocking(bus_nats.NATSEventBus, Portal, BUS_PARTS)
InMemoryEventStore = blocking(memory.InMemoryEventStore, Direct, {**STORE_PARTS, "ingest": memory_pipeline.MemoryPipeline})
JetStreamEventStore = blocking(jetstream.JetStreamEventStore, Portal, {**STORE_PARTS, "ingest": pipeline.JetStreamPipeline})
PublishingEventStore = blocking(publishing.PublishingEventStore, Portal)
Leadership = blocking(leadership.Leadership, Portal)
LossSignal = blocking(leadership.LossSignal, Portal)
LeaderElection = blocking(election.LeaderElection, Portal, {"leadership": leadership.Leadership, "lost": leadership.LossSignal})
NODE_PARTS = {**STORE_PARTS, "changes": ChangeFeed, "store": FencedEventStore, "ingest": FencedPipeline}
ClusterNode = blocking(node.ClusterNode, Portal, NODE_PARTS)
ActorHost = blocking(host.ActorHost, Portal)
EmbeddedServer = blocking(server.EmbeddedServer, Portal)
