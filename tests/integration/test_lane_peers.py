"""Servers that refuse, babble, lie, stall, drip and hang up: each call ends in its documented error or on the next lane."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from faults.dump import dump
from faults.tap import Plan, Tap, once, tapped
from faults.waiting import hurried, in_time, until

from aether import (
    AccessDeniedError,
    CommitTooLargeError,
    DeadlineError,
    JetStreamEventStore,
    NewEvent,
    OutcomeUnknownError,
    ServerUnavailableError,
)
from aether.testing.servers import running_server

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aether import EmbeddedServer

REFUSED_LOGIN = [
    "Authorization Violation",
    "Authentication Timeout",
    "Authentication Expired",
    "User Authentication Expired",
    "User Authentication Revoked",
    "Account Authentication Expired",
    'Permissions Violation for Publish with Reply of "_INBOX.x.1"',
]
"""What nats-server says where it does not take who we are."""

HUNG_UP = [
    "Stale Connection",
    "Slow Consumer",
    "Slow Consumer (Pending Bytes)",
    "Slow Consumer (Write Deadline)",
    "Parser Error",
    "Unknown Protocol Operation",
    "Invalid Subject",
    "Invalid Publish Subject",
    "Maximum Payload Violation",
    "Maximum Control Line Exceeded",
    "Maximum Connections Exceeded",
    "Maximum Account Connections Exceeded",
    "Maximum Account Active Connections Exceeded",
    "Maximum Subscriptions Exceeded",
    "Message Header Violation",
    "No Responders Requires Headers",
    "Secure Connection - TLS Required",
    "Connection Throttling Is Active. Please Try Again Later.",
    "Server Shutdown",
    "Minimum Version Required",
    "Missing Account",
    "Attempted To Connect To Route Port",
    "something that no server has said yet",
    "",
]
"""What else it says, and hangs up."""


def instead(said: bytes, *, hang_up: bool = False) -> Callable[[bytes], bytes | None]:
    """Say this instead of the next thing the server says, and nothing more after it where `hang_up`."""
    told = False

    def down(data: bytes) -> bytes | None:
        nonlocal told
        if told:
            return None if hang_up else data
        told = True
        return said

    return down


async def relane(tap: Tap, store: JetStreamEventStore, plan: Callable[[], Plan]) -> None:
    """Cut the lane; those that follow are planned so."""
    tap.plan = plan
    tap.lane.cut()
    await until(lambda: not store._connection._carrier.transport.is_open())


@pytest.mark.parametrize("text", [*REFUSED_LOGIN, *HUNG_UP])
async def test_an_error_in_mid_flight_is_survived(nats_server: EmbeddedServer, namespace: str, text: str) -> None:
    """Whatever -ERR comes in an ack's place, the append is resolved on the next lane: acked, and stored once."""
    async with tapped(nats_server, namespace) as (tap, store):
        tap.lane.plan.down = instead(f"-ERR '{text}'\r\n".encode())
        assert (await store.append("a", NewEvent("t"))).version == 2
        assert [event.version for event in await store.get_events("a")] == [1, 2]
    assert [message.versions for message in await dump(nats_server.url, namespace)] == [[1], [2]]


async def test_a_denied_publish_in_mid_flight_is_told_at_once(nats_server: EmbeddedServer, namespace: str) -> None:
    """A publish that the server denies is `AccessDeniedError` without waiting, and the lane stays."""
    async with tapped(nats_server, namespace, again_s=15.0) as (tap, store):
        lane = tap.lane
        subject = (await dump(nats_server.url, namespace))[0].subject
        lane.plan.down = instead(f"-ERR 'Permissions Violation for Publish to \"{subject}\"'\r\n".encode())
        async with asyncio.timeout(40):
            with pytest.raises(AccessDeniedError, match=r"(?i)permissions violation for publish"):
                await store.append("a", NewEvent("t"))
        assert await store.get_latest_version("a")
        assert tap.lane is lane


@pytest.mark.parametrize("text", REFUSED_LOGIN)
async def test_a_login_that_is_refused_is_told_at_once(nats_server: EmbeddedServer, namespace: str, text: str) -> None:
    """A lane that the server does not let in makes calls `AccessDeniedError` at once; let in again, the same store goes on."""
    async with tapped(nats_server, namespace, again_s=15.0) as (tap, store):
        await relane(tap, store, lambda: planned(f"INFO {{}}\r\n-ERR '{text}'\r\n".encode()))
        async with asyncio.timeout(40):
            with pytest.raises(AccessDeniedError, match=text):
                await store.append("a", NewEvent("t"))
        tap.plan = Plan
        assert (await store.append("a", NewEvent("t"))).version == 2


def planned(greeting: bytes) -> Plan:
    """A link whose peer says this for a greeting and hangs up at its next word."""
    plan = Plan()
    plan.down = instead(greeting, hang_up=True)
    return plan


GREETINGS: dict[str, bytes] = {
    **{text: f"INFO {{}}\r\n-ERR '{text}'\r\n".encode() for text in HUNG_UP},
    "an error before INFO": b"-ERR 'Maximum Connections Exceeded'\r\n",
    "another protocol": b"HTTP/1.1 400 Bad Request\r\n\r\n",
    "SSH": b"SSH-2.0-OpenSSH_9.2\r\n",
    "random bytes": bytes(range(256)) * 20,
    "an endless line": b"INFO {" + b"x" * (2**20 + 100),
    "INFO that is no JSON": b"INFO {nonsense\r\n",
    "INFO that is no object": b"INFO [1, 2]\r\n",
    "INFO of wrong types": b'INFO {"max_payload": "large"}\r\n',
    "INFO with a negative max_payload": b'INFO {"max_payload": -1}\r\n',
    "INFO with a max_payload beyond counting": b'INFO {"max_payload": 1e999}\r\n',
    "INFO that is no UTF-8": b'INFO {"version": "\xff"}\r\n',
    "INFO nested without end": b'INFO {"x": ' + b"[" * 500_000 + b"\r\n",
    "INFO without anything": b"INFO\r\n",
    "a message of 10 GB": b"INFO {}\r\nMSG a 1 10000000000\r\n",
}


@pytest.mark.parametrize("what", GREETINGS)
async def test_a_peer_that_is_no_server_or_wants_nobody_ends_calls_in_time(
    nats_server: EmbeddedServer, namespace: str, what: str
) -> None:
    """With lanes that greet so for ever, a call is `ServerUnavailableError` by its deadline; greeted well, the store goes on."""
    timeout_s = 0.3
    async with tapped(nats_server, namespace) as (tap, store):
        await relane(tap, store, lambda: planned(GREETINGS[what]))
        calls: list[Callable[[], Awaitable[object]]] = [
            lambda: store.append("a", NewEvent("t")),
            lambda: store.get_events("a"),
        ]
        for call in calls:
            with hurried(store, timeout_s), pytest.raises(ServerUnavailableError):
                await in_time(call(), timeout_s)
        tap.plan = Plan
        assert (await store.append("a", NewEvent("t"))).version == 2
    assert [message.versions for message in await dump(nats_server.url, namespace)] == [[1], [2]]


GARBAGE: dict[str, bytes] = {
    "random bytes": bytes(range(128, 256)) + b"\r\n",
    "an endless line": b"MSG " + b"x" * (2**20 + 100),
    "a message of 10 GB": b"MSG a 1 10000000000\r\n",
    "headers larger than their message": b"HMSG a 1 20 10\r\n",
    "a number that is none": b"MSG a 1 0x10\r\n",
    "INFO that is no JSON": b"INFO {nonsense\r\n",
    "INFO nested without end": b'INFO {"x": ' + b"[" * 500_000 + b"\r\n",
    "a message without its end": b"MSG a 1 1\r\nxyz",
}


@pytest.mark.parametrize("what", GARBAGE)
async def test_garbage_in_mid_flight_is_survived(nats_server: EmbeddedServer, namespace: str, what: str) -> None:
    """Garbage in an ack's place ends that lane, and the append is resolved on the next one: acked, and stored once."""
    async with tapped(nats_server, namespace) as (tap, store):
        lane = tap.lane
        lane.plan.down = instead(GARBAGE[what])
        assert (await store.append("a", NewEvent("t"))).version == 2
        assert tap.lane is not lane
    assert [message.versions for message in await dump(nats_server.url, namespace)] == [[1], [2]]


ANSWERS: dict[str, bytes] = {
    "no JSON": b"nonsense",
    "nothing": b"",
    "JSON of another kind": b"[1, 2, 3]",
    "no UTF-8": b'{"stream": "\xff"}',
    "nested without end": b"[" * 100_000,
    "wrong types": b'{"seq": "x", "message": 1}',
}


@pytest.mark.parametrize("what", ANSWERS)
async def test_answers_that_are_none_of_jetstreams_end_in_time(nats_server: EmbeddedServer, namespace: str, what: str) -> None:
    """With answers that say nothing, a write is `OutcomeUnknownError` and a read `DeadlineError` by the deadline."""
    timeout_s, body = 0.6, ANSWERS[what]

    def garbled(data: bytes) -> bytes:
        words = data.split(b"\r\n")[0].split()
        if words[0] not in (b"MSG", b"HMSG"):
            return data
        return b"MSG %b %b %d\r\n%b\r\n" % (words[1], words[2], len(body), body)

    async with tapped(nats_server, namespace) as (tap, store):
        tap.lane.plan.down = garbled
        with hurried(store, timeout_s), pytest.raises(OutcomeUnknownError):
            await in_time(store.append("a", NewEvent("t")), timeout_s)
        with hurried(store, timeout_s), pytest.raises(DeadlineError):
            await in_time(store.get_latest_version("a"), timeout_s)
        tap.lane.plan.down = bytes
        assert await store.get_latest_version("a") == 2


@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
@pytest.mark.parametrize("at", ["greeting", "login", "request"])
async def test_a_peer_that_hangs_up_is_left_for_the_next_lane(
    nats_server: EmbeddedServer, namespace: str, at: str, *, reset: bool
) -> None:
    """A peer that hangs up before INFO, after CONNECT, or in place of an answer costs a lane and nothing else."""
    async with tapped(nats_server, namespace) as (tap, store):
        if at == "request":
            tap.lane.plan.reset = reset
            tap.lane.plan.down = lambda _: None
        else:
            plan = Plan(cut_down_at=1 if at == "greeting" else None, cut_up_at=1 if at == "login" else None)
            plan.reset = reset
            await relane(tap, store, once(plan))
        assert (await store.append("a", NewEvent("t"))).version == 2
    assert [message.versions for message in await dump(nats_server.url, namespace)] == [[1], [2]]


async def test_a_peer_that_drips_is_understood(nats_server: EmbeddedServer, namespace: str) -> None:
    """From a peer that sends byte by byte everything is read as from any other."""
    async with tapped(nats_server, namespace, again_s=2.5) as (tap, store):
        await relane(tap, store, once(Plan(drip=True)))
        lane = None
        for version in (2, 3, 4):
            assert (await store.append("a", NewEvent("t", "x" * 500))).version == version
            lane = lane or tap.lane
        assert [event.version for event in await store.get_events("a")] == [1, 2, 3, 4]
        assert tap.lane is lane, "it was read on one lane"


async def test_a_mute_lane_is_left_though_the_client_hears_its_server(nats_server: EmbeddedServer, namespace: str) -> None:
    """A lane that goes mute is given up by its silence, and the call goes on over another in its own time."""
    async with tapped(nats_server, namespace, timeout_s=8.0) as (tap, store):
        lane = tap.lane
        lane.plan.mute = True
        assert (await store.append("a", NewEvent("t"))).version == 2
        lane.plan.mute = False
        assert tap.lane is not lane


async def test_a_lane_that_takes_no_bytes_holds_nobody_beyond_the_deadline(nats_server: EmbeddedServer, namespace: str) -> None:
    """With a peer that reads nothing, senders wait, memory is bounded, and every call ends by its deadline."""
    timeout_s = 1.0
    async with tapped(nats_server, namespace) as (tap, store):
        lane, carrier = tap.lane, store._connection._carrier.transport
        lane.plan.stalled = True
        with hurried(store, timeout_s):
            calls = [asyncio.ensure_future(store.append(f"l-{n}", NewEvent("t", "x" * 900_000))) for n in range(60)]
            # On a slow machine the calls' time may be up before anybody looks.
            await until(lambda: not carrier._room.is_set() or all(call.done() for call in calls))
            lane.inject(b"PING\r\n" * 1_000_000)
            told = await in_time(asyncio.gather(*calls, return_exceptions=True), timeout_s)
        assert {type(error) for error in told} <= {OutcomeUnknownError, DeadlineError, ServerUnavailableError}, told
        assert carrier._transport.get_write_buffer_size() < 8 * 2**20
        lane.plan.stalled = False


async def test_limits_that_change_in_mid_connection_count_from_then_on(nats_server: EmbeddedServer, namespace: str) -> None:
    """An INFO with another max_payload changes what a commit may take: less is refused with both figures, more is taken again."""
    async with tapped(nats_server, namespace) as (tap, store):
        for limit, fits in ((2_000, False), (1_048_576, True), (8_388_608, True), (500, False)):
            tap.lane.inject(b'INFO {"version": "2.15.1", "max_payload": %d}\r\n' % limit)
            await until(lambda limit=limit: store._connection.max_payload == limit)
            if fits:
                await store.append("a", NewEvent("t", "x" * 5_000))
            else:
                with pytest.raises(CommitTooLargeError, match=f"{limit:,}"):
                    await store.append("a", NewEvent("t", "x" * 5_000))
        assert await store.get_latest_version("a") == 3


async def test_a_limit_that_the_server_does_not_keep_to_is_found_out() -> None:
    """Where INFO allows more than the server takes, the server hangs up, its next INFO tells, and the write is unknown soon."""
    with running_server({"max_payload": 4_096}) as server:
        async with tapped(server, "n", again_s=15.0) as (tap, store):
            lane = tap.lane
            lane.inject(b'INFO {"version": "2.15.1", "max_payload": 1048576}\r\n')
            await until(lambda: store._connection.max_payload == 2**20)
            async with asyncio.timeout(40):
                with pytest.raises(OutcomeUnknownError) as caught:
                    await store.append("a", NewEvent("t", "x" * 5_000))
            assert "more than the server takes: 4,096" in str(caught.value.__cause__)
            assert tap.lane is not lane
            assert await store.get_latest_version("a") == 1
