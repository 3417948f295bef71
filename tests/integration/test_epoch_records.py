"""Records of epochs among the commits of real streams: readers step over them, and their damage is loud."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from faults.dump import crafted, dump, events_of, stock_client
from test_lane_answers import publish
from test_replay_faults import fill, names, opened, until_stopped

from aether import JetStreamEventStore, NewEvent
from aether._native import actor_subject, encode_epoch, shard_of
from aether.cli import audit
from aether.nats.subjects import epoch_subject, shard_filter

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aether import EmbeddedServer

WHO = [f"a-{number}" for number in range(7)]
"""Whose commits `fill` writes."""


@pytest.fixture(params=["lane", "nats-py"])
async def store(request: Any, nats_server: EmbeddedServer, namespace: str) -> AsyncIterator[JetStreamEventStore]:
    """A store on the shared server, by either way that messages travel."""
    async with opened(nats_server.url, namespace, request.param) as store:
        yield store


async def take(url: str, namespace: str, shard: int, body: bytes = encode_epoch("node-1", 7)) -> int:
    """Store a record of an epoch, or what stands in its place; return where it lies."""
    async with stock_client(url) as client:
        return (await client.jetstream().publish(epoch_subject(namespace, shard), body)).seq


async def test_readers_step_over_records_of_epochs(
    store: JetStreamEventStore, nats_server: EmbeddedServer, namespace: str
) -> None:
    """With records before, between and behind commits every read gives the events that it gives without them."""
    url, stored = nats_server.url, []
    for _ in range(3):
        for actor_id in WHO[:3]:
            await take(url, namespace, shard_of(actor_id))
        stored += await fill(store, 14)
    last = await take(url, namespace, shard_of(WHO[0]))
    for given, wanted in [
        ({}, stored),
        ({"shards": [shard_of(WHO[1])]}, [event for event in stored if event[0] == WHO[1]]),
        ({"shards": [shard_of(who) for who in WHO[:2]]}, [event for event in stored if event[0] in WHO[:2]]),
        ({"actor_id": WHO[0]}, [event for event in stored if event[0] == WHO[0]]),
        ({"actor_prefix": "a-"}, stored),
        ({"event_types": ["t"]}, stored),
        ({"after": last - 1}, []),
    ]:
        for batch_size in (1, 1000):
            events, error = await until_stopped(store.read_all(batch_size=batch_size, **given))  # type: ignore[arg-type]
            assert (names(events), error) == (wanted, None), given
    messages = await dump(url, namespace)
    assert [message.position for message in messages if message.is_epoch][-1] == last
    assert [(WHO[1], version) for version, _ in events_of(messages, WHO[1])] == [event for event in stored if event[0] == WHO[1]]
    taken = await audit.dump(url, namespace)
    assert (len(taken.events), taken.unreadable, taken.epochs[str(shard_of(WHO[0]))]) == (len(stored), [], last)


DAMAGE = {
    "empty": b"",
    "JSON": b'{"node": "a"}',
    "altered": encode_epoch("n", 7)[:-1] + b"\0",
    "a commit": crafted("a", [1], []),
}


@pytest.mark.parametrize("body", DAMAGE.values(), ids=DAMAGE)
async def test_a_damaged_record_stops_a_read_at_its_position(
    store: JetStreamEventStore, nats_server: EmbeddedServer, namespace: str, body: bytes
) -> None:
    """All before it comes, then `CorruptEventError` with its position and no actor; behind it, and elsewhere, a read goes on."""
    before = await fill(store, 14)
    position = await take(nats_server.url, namespace, shard_of(WHO[0]), body)
    behind = await fill(store, 14)
    for given in ({}, {"shards": [shard_of(WHO[0])]}, {"event_types": ["t"]}):
        events, error = await until_stopped(store.read_all(**given))  # type: ignore[arg-type]  # one of several filters
        assert names(events) == [event for event in before if "shards" not in given or event[0] == WHO[0]]
        assert error is not None
        assert (error.stream, error.position, error.actor_id) == (f"AETHER-EVENTS-{namespace}", position, None)
    events, error = await until_stopped(store.read_all(position))
    assert (names(events), error) == (behind, None)
    for given in ({"actor_id": WHO[0]}, {"shards": [shard_of(WHO[1])]}):
        assert (await until_stopped(store.read_all(**given)))[1] is None  # type: ignore[arg-type]  # as above
    assert len(await store.get_events(WHO[0])) == 6
    assert (await audit.dump(nats_server.url, namespace)).unreadable == [position]


async def test_a_message_on_a_subject_that_is_no_actors_is_damage(
    store: JetStreamEventStore, nats_server: EmbeddedServer, namespace: str
) -> None:
    """A sound record on another reserved subject, or in a shard that there is not, is not skipped in silence."""
    await fill(store, 1)
    for subject in ("1.=later", "1021.=epoch", "x.=epoch"):
        async with stock_client(nats_server.url) as client:
            position = (await client.jetstream().publish(f"aether.{namespace}.{subject}", encode_epoch("n", 1))).seq
        _, error = await until_stopped(store.read_all(position - 1))
        assert error is not None
        assert error.position == position


async def test_an_actor_is_searched_for_among_records(
    store: JetStreamEventStore, nats_server: EmbeddedServer, namespace: str
) -> None:
    """An actor whose commits have no spine is found by the scan of its subject, where no record lies, and can go on."""
    subject, shard = actor_subject(namespace, "b"), shard_of("b")
    await store.append("a", NewEvent("t"))  # so that there is a stream
    for version in (1, 2, 3):
        await take(nats_server.url, namespace, shard)
        async with stock_client(nats_server.url) as client:
            await client.jetstream().publish(subject, crafted("b", [version], None))
    assert [event.version for event in await store.get_events("b")] == [1, 2, 3]
    assert store._events.scans == 1
    assert (await store.append("b", NewEvent("t"), expected_version=3)).version == 4
    deadline = asyncio.get_running_loop().time() + 5
    batches = store._events.scan(shard_filter(namespace, shard), 0, 8, lambda: deadline)
    found = [message.subject async for batch in batches for message in batch]
    assert found == [epoch_subject(namespace, shard), subject] * 3 + [subject], "who scans the shard meets them"


async def test_the_last_of_several_subjects_come_with_how_far_the_server_had_got(
    store: JetStreamEventStore, nats_server: EmbeddedServer, namespace: str
) -> None:
    """The end of the answer to `multi_last` has the stream's last sequence as its position, whatever headers a message has."""
    subject, record = actor_subject(namespace, "a"), epoch_subject(namespace, 7)
    await store.append("a", NewEvent("t"))
    epoch = await take(nats_server.url, namespace, 7)
    planted = b"NATS/1.0 204 EOB\r\nNats-UpTo-Sequence: 7777\r\n\r\n"
    await publish(nats_server, subject.encode(), planted, b"foreign")
    last = (await store.append("elsewhere", NewEvent("t"))).position
    deadline = asyncio.get_running_loop().time() + 5
    transport = await store._events._connection.ready(deadline)
    direct = f"$JS.API.DIRECT.GET.AETHER-EVENTS-{namespace}"
    asked = f'{{"multi_last":["{subject}","{record}"]}}'.encode()
    *found, end = await transport.request_batch(direct, asked, deadline)
    assert [(reply.status, reply.position, reply.subject) for reply in found] == [(0, epoch, record), (0, epoch + 1, subject)]
    assert (end.status, end.position, end.subject) == (204, last, None)
    asked = f'{{"multi_last":["{record}"],"up_to_seq":{epoch}}}'.encode()
    _, end = await transport.request_batch(direct, asked, deadline)
    assert (end.status, end.position) == (204, epoch)
    (none,) = await transport.request_batch(direct, b'{"multi_last":["aether.none.1.a"]}', deadline)
    assert (none.status, none.position) == (404, 0)
