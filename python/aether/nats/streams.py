"""The streams of a namespace: made as they must be, or checked to be so.

An event stream takes no limit that drops a message and allows no delete and no purge. `max_bytes` is allowed, because with
`discard: new` it refuses a write instead of dropping an old one, and some accounts demand it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeVar

import nats.errors
import nats.js.errors
from nats.js.api import DiscardPolicy, PersistMode, RetentionPolicy, StorageType, StreamConfig

from aether.errors import DeadlineError, NamespaceMismatchError, ServerUnavailableError, UnsupportedServerError
from aether.nats.errors import NO_STREAM, STREAM_EXISTS, TRY_AGAIN, client_error
from aether.nats.pauses import pause
from aether.nats.subjects import SHARDS, events_filter, events_stream, snapshots_filter, snapshots_stream

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from nats.js import JetStreamContext
    from nats.js.api import StreamInfo

    from aether.nats.connection import Connection

__all__ = ["StreamFacts", "control", "find_stream", "limit_of", "namespace_mode", "open_stream", "open_streams", "wrong_mode"]

T = TypeVar("T")

METADATA = {"aether-format": "1", "aether-hash": "fnv1a32", "aether-shards": str(SHARDS), "aether-guard": "actor"}
"""What a writer must agree on with every other writer of the namespace."""

GUARD_MODE = "aether-guard"
GUARD_MODES = ("actor", "shard")
TO_SHARDS = (
    "a plain store writes to namespaces of its own, cluster nodes to theirs; the way over is "
    "`aether export --namespace OLD FILE`, then `aether import --sharded --namespace NEW FILE`"
)

MUST_EQUAL = ("subjects", "retention", "discard", "deny_delete", "deny_purge", "allow_direct")
LIMITS = ("max_msgs", "max_age", "max_msgs_per_subject", "max_msg_size")
MUST_BE_OFF = (
    "mirror",
    "sources",
    "sealed",
    "no_ack",
    "allow_rollup_hdrs",
    "subject_transform",
    "allow_msg_counter",
    "allow_msg_ttl",
    "persist_mode",
)
OFF: tuple[object, ...] = (None, False, [], PersistMode.DEFAULT)

CONTROL_TIMEOUT_S = 2.0
"""How long one answer is waited for before the call is made again; all of them may be."""

NO_RESPONDERS_S = 2.0
"""How long silence from JetStream is taken for a server that starts; after that JetStream is off."""


class StreamFacts(NamedTuple):
    """What the event stream is.

    Attributes:
        storage: "file" or "memory".
        replicas: how many servers hold it.
        reached: how far it reached, the position of its last message; 0 where it has none.
        guard: what a commit is guarded by, "actor" or "shard": who made the namespace fixed it for ever.
    """

    storage: str
    replicas: int
    reached: int
    guard: str


async def open_streams(
    connection: Connection,
    namespace: str,
    *,
    replicas: int | None,
    storage: str | None,
    guard: Literal["actor", "shard"] | None = None,
    deadline: float,
    timeout_s: float,
) -> StreamFacts:
    """Make the namespace's two streams where they are missing, check them where they are there.

    Args:
        connection: an open connection.
        namespace: the namespace.
        replicas: how many servers shall hold the streams; None: 1 for a new one, any for an existing one.
        storage: "file" or "memory"; None: file for a new one, any for an existing one.
        guard: what its commits are guarded by; None: "actor" for a new one, any for an existing one.
        deadline: on the loop's clock, in seconds.
        timeout_s: what the caller allowed, for errors.

    Raises:
        NamespaceMismatchError: a stream exists with other settings.
        UnsupportedServerError: JetStream is off.
    """
    events = _events_config(namespace, guard or METADATA[GUARD_MODE], replicas or 1, StorageType(storage or "file"))
    snapshots = _snapshots_config(namespace, replicas or 1, StorageType(storage or "file"))
    asked = [name for name, value in (("num_replicas", replicas), ("storage", storage)) if value is not None]
    info = await open_stream(connection, events, deadline, timeout_s)
    found = info.config
    mode = (found.metadata or {}).get(GUARD_MODE, "")
    if guard is None and mode in GUARD_MODES:
        events.metadata = {**METADATA, GUARD_MODE: mode}
    differences = [*_differences(events, found, asked)]
    if len(differences) == 1 and mode in GUARD_MODES and guard not in (None, mode):
        raise wrong_mode(namespace, mode)
    if not differences:
        differences += _differences(snapshots, (await open_stream(connection, snapshots, deadline, timeout_s)).config, asked)
    if differences:
        raise NamespaceMismatchError(namespace, tuple(differences))
    kept = "memory" if found.storage == StorageType.MEMORY else "file"
    return StreamFacts(kept, found.num_replicas or 1, info.state.last_seq, mode)


def _events_config(namespace: str, guard: str, replicas: int, storage: StorageType) -> StreamConfig:
    return StreamConfig(
        name=events_stream(namespace),
        description=f"Events of Aether's namespace {namespace}",
        subjects=[events_filter(namespace)],
        retention=RetentionPolicy.LIMITS,
        discard=DiscardPolicy.NEW,
        deny_delete=True,
        deny_purge=True,
        allow_direct=True,
        metadata={**METADATA, GUARD_MODE: guard},
        num_replicas=replicas,
        storage=storage,
    )


def _snapshots_config(namespace: str, replicas: int, storage: StorageType) -> StreamConfig:
    return StreamConfig(
        name=snapshots_stream(namespace),
        description=f"Snapshots of Aether's namespace {namespace}",
        subjects=[snapshots_filter(namespace)],
        retention=RetentionPolicy.LIMITS,
        discard=DiscardPolicy.OLD,
        max_msgs_per_subject=1,
        allow_direct=True,
        metadata={"aether-format": METADATA["aether-format"]},
        num_replicas=replicas,
        storage=storage,
    )


def wrong_mode(namespace: str, mode: str) -> NamespaceMismatchError:
    """Return the error of who would write to a namespace of the other mode: why not, and how to go over."""
    why = {
        "shard": "its guard mode is 'shard': only the owner of a shard writes to it, through a cluster node (ClusterNode.join)",
        "actor": "its guard mode is 'actor': plain stores write to it, so a cluster node could not keep them out",
    }
    return NamespaceMismatchError(namespace, (why[mode],), TO_SHARDS)


async def namespace_mode(connection: Connection, namespace: str, deadline: float, timeout_s: float) -> str | None:
    """Return how a namespace's writers fence each other, None: it is not there; nothing is made, errors as `open_streams`."""
    stream, what = events_stream(namespace), f"looking for the namespace {namespace}"
    found = await find_stream(connection, stream, what, deadline, timeout_s)
    return None if found is None else (found.config.metadata or {}).get(GUARD_MODE, "")


async def find_stream(connection: Connection, stream: str, what: str, deadline: float, timeout_s: float) -> StreamInfo | None:
    """Return what there is of a stream, None where it is not there; nothing is made, errors as `open_streams`."""
    return await control(connection, what, lambda js: _find(js, stream), deadline, timeout_s)


async def _find(js: JetStreamContext, stream: str) -> StreamInfo | None:
    try:
        return await js.stream_info(stream)
    except nats.js.errors.NotFoundError as error:
        if error.err_code not in NO_STREAM:
            raise
        return None


async def open_stream(connection: Connection, config: StreamConfig, deadline: float, timeout_s: float) -> StreamInfo:
    """Make a stream where it is missing, and return what is there; errors as `open_streams`."""

    async def once(js: JetStreamContext) -> StreamInfo:
        found = await _find(js, config.name or "")
        if found is not None:
            return found
        try:
            return await js.add_stream(config)
        except nats.js.errors.BadRequestError as error:
            if error.err_code not in STREAM_EXISTS:
                raise
            # Somebody made it meanwhile, with other settings: look at them.
            return await js.stream_info(config.name or "")

    return await control(connection, f"opening stream {config.name}", once, deadline, timeout_s)


async def control(
    connection: Connection, what: str, call: Callable[[JetStreamContext], Awaitable[T]], deadline: float, timeout_s: float
) -> T:
    """Run a call of nats-py's JetStream API until it answers, through reconnects and elections.

    Raises:
        UnsupportedServerError: nobody serves JetStream, or the server takes no message as large as the call.
        AccessDeniedError: this account may not make the call.
        ServerUnavailableError: no server answered by the deadline.
    """
    loop = asyncio.get_running_loop()
    started, attempt = loop.time(), 0
    while True:
        await connection.ready(deadline)
        js = connection.client.jetstream(timeout=max(0.05, min(CONTROL_TIMEOUT_S, deadline - loop.time())))
        try:
            return await call(js)
        except nats.js.errors.APIError as error:
            silent = error.err_code is None
            if silent and loop.time() - started > NO_RESPONDERS_S:
                raise UnsupportedServerError(
                    connection.url, "JetStream is off; start the server with: nats-server -js"
                ) from error
            if not silent and error.err_code not in TRY_AGAIN:
                raise client_error(connection.url, error, what) from error
        except nats.errors.MaxPayloadError as error:
            limit = connection.max_payload
            raise UnsupportedServerError(
                connection.url, f"its max_payload is {limit:,} bytes, too few for {what}; raise it in the server's configuration"
            ) from error
        except (nats.errors.Error, OSError, TimeoutError) as error:
            denied = connection.denied_since(started)
            if denied is not None:
                raise denied from error
        attempt += 1
        try:
            await pause(attempt, deadline, what, timeout_s)
        except DeadlineError as error:
            raise ServerUnavailableError(connection.url, f"{what}: no answer within {timeout_s:g} s") from error


def _differences(wanted: StreamConfig, found: StreamConfig, asked: list[str]) -> Iterator[str]:
    """Yield a sentence for each setting under which this store must not write, or that was asked for and is another."""
    for name in (*asked, *MUST_EQUAL):
        if getattr(found, name) != getattr(wanted, name):
            yield f"{wanted.name}: {name} is {_shown(getattr(found, name))}, not {_shown(getattr(wanted, name))}"
    for name in LIMITS:
        if limit_of(found, name) != limit_of(wanted, name):
            yield f"{wanted.name}: {name} is {limit_of(found, name):g}, not {limit_of(wanted, name):g} (-1: no limit)"
    for name in MUST_BE_OFF:
        if getattr(found, name) not in OFF:
            yield f"{wanted.name}: {name} is {_shown(getattr(found, name))}, it must be off"
    there = found.metadata or {}
    for key, value in (wanted.metadata or {}).items():
        if there.get(key) != value:
            yield f"{wanted.name}: metadata {key} is {there.get(key)!r}, not {value!r}"


def limit_of(config: StreamConfig, name: str) -> float:
    """Return a limit, -1 for the several ways to say that there is none."""
    value: float | None = getattr(config, name)
    return value if value and value > 0 else -1


def _shown(value: object) -> str:
    return str(getattr(value, "value", value))
