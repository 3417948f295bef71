"""What somebody else puts into a message's headers and subject: the lane reads the server's words, not theirs."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
from faults.dump import dump

from aether import CorruptEventError, JetStreamEventStore, NewEvent

if TYPE_CHECKING:
    from aether import EmbeddedServer

PLANTED: dict[str, bytes] = {
    "another position": b"NATS/1.0\r\nNats-Sequence: 7777\r\n\r\n",
    "a position that is none": b"NATS/1.0\r\nNats-Sequence: x\r\n\r\n",
    "another subject": b"NATS/1.0\r\nNats-Subject: aether.other.1.a\r\n\r\n",
    "a status": b"NATS/1.0 404 Message Not Found\r\n\r\n",
    "the end of a batch": b"NATS/1.0 204 EOB\r\nNats-Num-Pending: 0\r\n\r\n",
    "nobody listens": b"NATS/1.0 503\r\n\r\n",
    "bytes that are no UTF-8": b"NATS/1.0\r\nNats-Subject: \xff\xfe\r\nA: \xff\r\n\r\n",
}


async def publish(server: EmbeddedServer, subject: bytes, headers: bytes, body: bytes) -> None:
    """Publish as a program would that keeps to nothing but the protocol."""
    parts = urlsplit(server.url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    writer.write(b'CONNECT {"verbose":false,"headers":true}\r\n')
    writer.write(b"HPUB %b %d %d\r\n%b%b\r\nPING\r\n" % (subject, len(headers), len(headers) + len(body), headers, body))
    while not (line := await reader.readline()).startswith(b"PONG"):
        assert not line.startswith(b"-ERR"), line
    writer.close()
    await writer.wait_closed()


@pytest.mark.parametrize("what", PLANTED)
async def test_planted_headers_neither_move_nor_hide_a_message(nats_server: EmbeddedServer, namespace: str, what: str) -> None:
    """A foreign message with such headers is read where it lies, alone and among others, and found out as foreign."""
    async with JetStreamEventStore(nats_server.url, namespace=namespace, timeout_s=30) as store:
        first = await store.append("a", NewEvent("t"))
        (stored,) = await dump(nats_server.url, namespace)
        await publish(nats_server, stored.subject.encode(), PLANTED[what], b"foreign")
        log, deadline = store._events, asyncio.get_running_loop().time() + 30
        (alone,) = [batch async for batch in log.at([first.position + 1], deadline, 100)]
        assert alone == [(first.position + 1, stored.subject, b"foreign")]
        among = [
            message async for batch in log.scan(stored.subject, 0, first.position + 1, lambda: deadline) for message in batch
        ]
        assert [message.position for message in among] == [first.position, first.position + 1]
        with pytest.raises(CorruptEventError) as caught:
            await store.get_events("a")
        assert caught.value.position == first.position + 1


async def test_a_subject_that_is_no_utf_8_is_damage_and_not_silence(nats_server: EmbeddedServer, namespace: str) -> None:
    """A message on a subject that is no UTF-8 is a `CorruptEventError` with its position, and reading goes on behind it."""
    async with JetStreamEventStore(nats_server.url, namespace=namespace, timeout_s=30) as store:
        await store.append("a", NewEvent("t"))
        await publish(nats_server, b"aether.%b.5.\xff" % namespace.encode(), b"NATS/1.0\r\n\r\n", b"foreign")
        await store.append("b", NewEvent("t"))
        with pytest.raises(CorruptEventError) as caught:
            async for _ in store.read_all():
                pass
        assert caught.value.position == 2
        assert [event.actor_id async for batch in store.read_all(after=2) for event in batch] == ["b"]
