"""The streams of a namespace: made as designed, checked when they are there, whoever opens them, however many at once."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from faults.dump import api, dump, stock_client

from aether import InvalidIdError, JetStreamEventStore, NamespaceMismatchError, NewEvent, ServerRefusedError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from nats.aio.client import Client

    from aether import EmbeddedServer
    from aether.testing import NatsCluster


@pytest.fixture
async def client(nats_server: EmbeddedServer) -> AsyncIterator[Client]:
    """A stock client."""
    async with stock_client(nats_server.url) as client:
        yield client


def events(namespace: str) -> str:
    """The event stream's name."""
    return f"AETHER-EVENTS-{namespace}"


async def config(client: Client, stream: str) -> dict[str, Any]:
    """A stream's raw configuration."""
    found: dict[str, Any] = (await api(client, f"STREAM.INFO.{stream}"))["config"]
    return found


async def test_streams_are_made_as_designed(nats_server: EmbeddedServer, namespace: str, client: Client) -> None:
    """The event stream keeps everything for ever and the snapshot stream one message an actor, and both say what they are."""
    async with JetStreamEventStore(nats_server.url, namespace=namespace):
        made = await config(client, events(namespace))
        assert made["subjects"] == [f"aether.{namespace}.*.*"]
        expected = {
            "retention": "limits",
            "discard": "new",
            "storage": "file",
            "num_replicas": 1,
            "deny_delete": True,
            "deny_purge": True,
            "allow_direct": True,
            "max_age": 0,
            "max_msgs": -1,
            "max_bytes": -1,
            "max_msgs_per_subject": -1,
            "max_msg_size": -1,
            "allow_rollup_hdrs": False,
        }
        assert {name: made[name] for name in expected} == expected
        ours = {key: value for key, value in made["metadata"].items() if key.startswith("aether-")}
        assert ours == {"aether-format": "1", "aether-hash": "fnv1a32", "aether-shards": "1021", "aether-guard": "actor"}
        kept = await config(client, f"AETHER-SNAPSHOTS-{namespace}")
        assert kept["subjects"] == [f"aether-snap.{namespace}.*"]
        assert kept["max_msgs_per_subject"] == 1


async def test_events_cannot_be_deleted_or_purged(nats_server: EmbeddedServer, namespace: str, client: Client) -> None:
    """Whoever may use the API can neither delete a message nor purge the stream."""
    async with JetStreamEventStore(nats_server.url, namespace=namespace) as store:
        await store.append("a", NewEvent("t"))
        for call, arguments in (("STREAM.MSG.DELETE", {"seq": 1}), ("STREAM.PURGE", {})):
            assert "error" in await api(client, f"{call}.{events(namespace)}", **arguments)
        assert len(await store.get_events("a")) == 1


async def test_a_second_opener_finds_them(nats_server: EmbeddedServer, namespace: str) -> None:
    """A second store opens the same namespace and sees what the first has written."""
    async with JetStreamEventStore(nats_server.url, namespace=namespace) as first:
        await first.append("a", NewEvent("t"))
        async with JetStreamEventStore(nats_server.url, namespace=namespace, replicas=1, storage="file") as second:
            assert len(await second.get_events("a")) == 1


async def test_eight_openers_at_once(nats_server: EmbeddedServer, namespace: str, client: Client) -> None:
    """Of many that open a new namespace at the same moment all succeed, and their writes share one stream."""
    stores = [JetStreamEventStore(nats_server.url, namespace=namespace) for _ in range(8)]
    told = await asyncio.gather(*(store.append("a", NewEvent("t")) for store in stores))
    assert sorted(appended.version for appended in told) == list(range(1, 9))
    await asyncio.gather(*(store.aclose() for store in stores))
    assert len(await dump(nats_server.url, namespace)) == 8


async def test_first_calls_at_once_open_once(nats_server: EmbeddedServer, namespace: str) -> None:
    """Many first calls on one store share one opening."""
    async with JetStreamEventStore(nats_server.url, namespace=namespace) as other:
        await other.append("a", NewEvent("t"))
    store = JetStreamEventStore(nats_server.url, namespace=namespace)
    assert [len(found) for found in await asyncio.gather(*(store.get_events("a") for _ in range(50)))] == [1] * 50
    await store.aclose()


SOUND: dict[str, Any] = {
    "retention": "limits",
    "discard": "new",
    "storage": "file",
    "num_replicas": 1,
    "deny_delete": True,
    "deny_purge": True,
    "allow_direct": True,
    "metadata": {"aether-format": "1", "aether-hash": "fnv1a32", "aether-shards": "1021", "aether-guard": "actor"},
}

DIFFERENT: dict[str, tuple[dict[str, Any], str]] = {
    "guard mode": ({"metadata": {**SOUND["metadata"], "aether-guard": "node"}}, "metadata aether-guard is 'node', not 'actor'"),
    "format": ({"metadata": {**SOUND["metadata"], "aether-format": "2"}}, "metadata aether-format is '2', not '1'"),
    "shards": ({"metadata": {**SOUND["metadata"], "aether-shards": "16"}}, "metadata aether-shards is '16', not '1021'"),
    "hash": ({"metadata": {**SOUND["metadata"], "aether-hash": "crc"}}, "metadata aether-hash is 'crc', not 'fnv1a32'"),
    "no metadata": ({"metadata": {}}, "metadata aether-format is None, not '1'"),
    "max_age": ({"max_age": 3600 * 10**9}, "max_age is 3600, not -1"),
    "max_msgs": ({"max_msgs": 1000}, "max_msgs is 1000, not -1"),
    "max_msgs_per_subject": ({"max_msgs_per_subject": 5}, "max_msgs_per_subject is 5, not -1"),
    "max_msg_size": ({"max_msg_size": 1024}, "max_msg_size is 1024, not -1"),
    "discard old": ({"discard": "old"}, "discard is old, not new"),
    "deletes allowed": ({"deny_delete": False}, "deny_delete is False, not True"),
    "purges allowed": ({"deny_purge": False}, "deny_purge is False, not True"),
    "no direct reads": ({"allow_direct": False}, "allow_direct is False, not True"),
    "other subjects": ({"subjects": ["{}.other.>"]}, "subjects is"),
    "interest retention": ({"retention": "interest"}, "retention is interest, not limits"),
    "work queue": ({"retention": "workqueue"}, "retention is workqueue, not limits"),
    "rollups": ({"allow_rollup_hdrs": True, "deny_purge": False}, "allow_rollup_hdrs is True, it must be off"),
    "time to live": ({"allow_msg_ttl": True}, "allow_msg_ttl is True, it must be off"),
    "acks off": ({"no_ack": True}, "no_ack is True, it must be off"),
    "a transform": (
        {"subject_transform": {"src": "aether.{}.*.*", "dest": "elsewhere.{}.{{{{wildcard(1)}}}}"}},
        "subject_transform is",
    ),
    "asynchronous persistence": ({"persist_mode": "async"}, "persist_mode is async, it must be off"),
    "sealed": ({"sealed": True}, "sealed is True, it must be off"),
}


def fill_in(value: Any, namespace: str) -> Any:
    """Put the namespace where the table has {}."""
    if isinstance(value, str):
        return value.format(namespace)
    if isinstance(value, list):
        return [fill_in(item, namespace) for item in value]
    return {key: fill_in(item, namespace) for key, item in value.items()} if isinstance(value, dict) else value


@pytest.mark.parametrize("setting", DIFFERENT)
async def test_each_other_setting_is_refused_by_name(
    nats_server: EmbeddedServer, namespace: str, client: Client, setting: str
) -> None:
    """A stream that differs in one setting under which events could be lost or misread is refused, and the setting is named."""
    change, sentence = DIFFERENT[setting]
    wanted = {"name": events(namespace), "subjects": [f"aether.{namespace}.*.*"], **SOUND, **fill_in(change, namespace)}
    sealing = wanted.pop("sealed", False)
    answer = await api(client, f"STREAM.CREATE.{events(namespace)}", **wanted)
    assert "error" not in answer, answer
    if sealing:
        assert "error" not in await api(client, f"STREAM.UPDATE.{events(namespace)}", **{**answer["config"], "sealed": True})
    store = JetStreamEventStore(nats_server.url, namespace=namespace)
    with pytest.raises(NamespaceMismatchError) as caught:
        await store.append("a", NewEvent("t"))
    assert any(sentence in difference for difference in caught.value.differences), caught.value.differences
    assert namespace in str(caught.value)
    assert "use another namespace" in str(caught.value)
    await store.aclose()


async def test_a_sound_stream_made_by_hand_is_taken(nats_server: EmbeddedServer, namespace: str, client: Client) -> None:
    """The table's starting point is a stream that fits, so each refusal above has one cause; `max_bytes` may be set."""
    wanted = {"name": events(namespace), "subjects": [f"aether.{namespace}.*.*"], **SOUND, "max_bytes": 10_000_000}
    assert "error" not in await api(client, f"STREAM.CREATE.{events(namespace)}", **wanted)
    async with JetStreamEventStore(nats_server.url, namespace=namespace) as store:
        assert (await store.append("a", NewEvent("t"))).version == 1


@pytest.mark.parametrize(
    ("asked", "sentence"), [({"replicas": 3}, "num_replicas is 1, not 3"), ({"storage": "memory"}, "storage is file, not memory")]
)
async def test_what_was_asked_for_must_be_so(
    nats_server: EmbeddedServer, namespace: str, asked: dict[str, Any], sentence: str
) -> None:
    """Replicas and storage that the caller names must be those of the stream; not named, any will do."""
    async with JetStreamEventStore(nats_server.url, namespace=namespace):
        pass
    with pytest.raises(NamespaceMismatchError, match=sentence):
        await JetStreamEventStore(nats_server.url, namespace=namespace, **asked).__aenter__()


async def test_a_snapshot_stream_that_differs_is_refused(nats_server: EmbeddedServer, namespace: str, client: Client) -> None:
    """The snapshot stream is checked as the event stream is."""
    name = f"AETHER-SNAPSHOTS-{namespace}"
    await api(client, f"STREAM.CREATE.{name}", name=name, subjects=[f"aether-snap.{namespace}.*"], max_age=10**12)
    with pytest.raises(NamespaceMismatchError, match="SNAPSHOTS"):
        await JetStreamEventStore(nats_server.url, namespace=namespace).__aenter__()


async def test_info_says_what_an_ack_means(nats_server: EmbeddedServer, namespace: str) -> None:
    """`info` names storage, replicas, server and sync policy, and says that the policy is unknown where it is."""
    async with JetStreamEventStore(nats_server.url, namespace=namespace, storage="memory") as store:
        told = await store.info()
        assert (told.store, told.namespace, told.storage, told.replicas) == ("jetstream", namespace, "memory", 1)
        assert told.server_version.count(".") == 2
        assert told.sync.startswith("unknown")
        assert told.commit_bytes_max == 2**20
        assert "memory storage" in told.ack_means


async def test_more_replicas_than_servers_is_refused(nats_server: EmbeddedServer, namespace: str) -> None:
    """Three replicas on one server cannot be: the server's number and words are told."""
    with pytest.raises(ServerRefusedError, match="replicas") as caught:
        await JetStreamEventStore(nats_server.url, namespace=namespace, replicas=3).__aenter__()
    assert caught.value.err_code == 10074


async def test_three_replicas_are_made_where_asked(nats_cluster: NatsCluster, namespace: str) -> None:
    """On a cluster `replicas=3` makes both streams so, and `info` says what an ack means there."""
    async with JetStreamEventStore(",".join(nats_cluster.urls), namespace=namespace, replicas=3) as store:
        told = await store.info()
        assert (told.replicas, told.storage) == (3, "file")
        assert "2 of 3 servers" in told.ack_means
        assert (await store.append("a", NewEvent("t"))).version == 1


HOSTILE_NAMESPACES = ["", "a.b", "*", ">", "a b", "a" * 65, "ä", "a\n", "$JS", "a/b", "../x"]


@pytest.mark.parametrize("name", HOSTILE_NAMESPACES)
def test_what_cannot_be_a_namespace_is_refused(name: str) -> None:
    """A name that could reach beyond its own subjects never becomes one."""
    with pytest.raises(InvalidIdError, match="1 to 64 characters"):
        JetStreamEventStore("nats://127.0.0.1:4222", namespace=name)


HOSTILE_IDS = ["*", ">", "a.b", "a.*", "$JS.API.>", " ", "\x00", "a\r\nPUB x 0", "=epoch", "%2A", "\u202e", "é" * 127, "x" * 255]


async def test_no_id_reaches_beyond_its_actor_and_namespace(nats_server: EmbeddedServer, namespace: str) -> None:
    """Ids that look like subjects, wildcards or protocol lines are actors like any other, each in its own namespace."""
    async with (
        JetStreamEventStore(nats_server.url, namespace=namespace) as store,
        JetStreamEventStore(nats_server.url, namespace=f"{namespace}-2") as other,
    ):
        for actor_id in HOSTILE_IDS:
            assert (await store.append(actor_id, NewEvent("t", actor_id))).version == 1
        for actor_id in HOSTILE_IDS:
            assert [event.data for event in await store.get_events(actor_id)] == [actor_id]
            assert await other.get_events(actor_id) == []
            assert await other.get_latest_version(actor_id) == 0
        assert (await other.append(HOSTILE_IDS[0], NewEvent("t"), expected_version=0)).version == 1
        assert await store.get_latest_version(HOSTILE_IDS[0]) == 1
    assert len({message.subject for message in await dump(nats_server.url, namespace)}) == len(HOSTILE_IDS)
    assert len(await dump(nats_server.url, f"{namespace}-2")) == 1


async def test_a_planted_message_id_swallows_nothing(nats_server: EmbeddedServer, namespace: str, client: Client) -> None:
    """No header of another client makes the server swallow an event with a success ack."""
    async with JetStreamEventStore(nats_server.url, namespace=namespace) as store:
        new = NewEvent("t")
        for message_id in (new.id, "a", "a:1"):
            await client.jetstream().publish(f"aether.{namespace}.1.planted", b"x", headers={"Nats-Msg-Id": message_id})
        appended = await store.append("a", new)
        assert [(event.id, event.version) for event in await store.get_events("a")] == [(new.id, 1)]
    assert (await dump(nats_server.url, namespace))[-1].position == appended.position
