"""Questions and answers over NATS: requests that go out, and what handlers return to those of others.

A request is an event that names an inbox for its answer. Whatever is subscribed to its subject may answer there, a JetStream
stream too, so what is no answer of a bus is not heeded; and whoever asks may name any subject, so answers go to inboxes only.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from aether._native import bus_body, bus_subject
from aether.bus.requests import Answer, decoded, unanswered, value_of
from aether.errors import AetherError, CommitTooLargeError, NoSubscriberError, PublishInterruptedError
from aether.nats.errors import UNAVAILABLE, NobodyListensError, NoRespondersError, UnansweredError
from aether.nats.pauses import pause

if TYPE_CHECKING:
    from aether.bus.sending import Sender
    from aether.event import Event
    from aether.nats.connection import Connection
    from aether.nats.transport import Reply

__all__ = ["Asker"]

_LOG = logging.getLogger("aether.bus")

INBOXES = "_INBOX"
"""What inboxes begin with, unless a borrowed client has another beginning."""

FOREIGN_BYTES = 100
"""How much of a foreign answer is shown."""


class Asker:
    """Asks the requests of one bus, and answers those of others.

    Args:
        connection: the bus's connection.
        sender: publishes the bus's events.
        namespace: the bus's namespace.
        timeout_s: what answering may take, in seconds.
    """

    def __init__(self, connection: Connection, sender: Sender, namespace: str, timeout_s: float) -> None:
        self._connection, self._sender, self._namespace, self._timeout_s = connection, sender, namespace, timeout_s
        self._foreign_told = False

    async def request(self, event: Event, timeout_s: float) -> Any:  # noqa: ANN401 - whatever the handler returned
        """Publish an event and return what its handler returns.

        Raises:
            NoSubscriberError: nobody is subscribed to it.
            RequestFailedError: the handler raised.
            DeadlineError: nobody answered in time, or (it says so) only what is no bus.
            PublishInterruptedError: the connection was lost meanwhile.
            AccessDeniedError: the server denies the request.
            CommitTooLargeError: the event does not fit one message.
            ServerUnavailableError: no server answers in time.
        """
        deadline, attempt = asyncio.get_running_loop().time() + timeout_s, 0
        subject, body = bus_subject(self._namespace, event), bus_body(event)
        answers: list[Answer] = []
        foreign: list[bytes] = []

        def wanted(reply: Reply) -> bool:
            if reply.status == UNAVAILABLE:
                return True
            answer = decoded(reply.data)
            if answer is not None:
                answers.append(answer)
                return True
            foreign[:] = [reply.data[:FOREIGN_BYTES]]
            self._tell_foreign(foreign[0])
            return False

        while True:
            transport = await self._sender.ready(deadline)
            if len(body) > transport.max_payload:
                raise CommitTooLargeError(event.actor_id, len(body), transport.max_payload)
            try:
                await transport.request(subject, body, deadline, wanted=wanted)
            except NobodyListensError as error:
                raise NoSubscriberError(event.event_type, event.actor_id) from error
            except NoRespondersError:
                # Nothing was sent.
                attempt += 1
                await pause(attempt, deadline, f"request {event.event_type!a} of {event.actor_id!a}", timeout_s)
            except UnansweredError as error:
                raise self._unanswered(event, deadline, timeout_s, foreign) from error
            else:
                return value_of(answers[0])

    def _unanswered(self, event: Event, deadline: float, timeout_s: float, foreign: list[bytes]) -> AetherError:
        if self._connection.is_over():
            return AetherError(f"{self._connection.url}: the bus was closed while a request waited for its answer")
        if asyncio.get_running_loop().time() < deadline:
            return PublishInterruptedError(1)
        return unanswered(event.event_type, event.actor_id, timeout_s, *foreign)

    def _tell_foreign(self, body: bytes) -> None:
        if not self._foreign_told:
            self._foreign_told = True
            _LOG.warning(
                "%s: something that is no bus answers requests, and is not heeded: %r; does a stream take the bus's subjects?",
                self._connection.url,
                body,
            )

    async def reply(self, subject: str, body: bytes) -> None:
        """Send an answer to where a request asked for it; whoever asks may choose among inboxes, and no other subjects.

        Raises:
            ServerRefusedError: the answer is larger than the server takes.
            ServerUnavailableError: no server answers in time.
            DeadlineError: the server takes nothing for so long.
        """
        deadline, attempt = asyncio.get_running_loop().time() + self._timeout_s, 0
        while True:
            transport = await self._sender.ready(deadline)
            if not self._is_inbox(subject):
                _LOG.warning(
                    "%s: a request wants its answer at %a, which is no inbox; it gets none", self._connection.url, subject
                )
                return
            try:
                await transport.publish_reply(subject, body, deadline)
            except NoRespondersError:
                attempt += 1
                await pause(attempt, deadline, "answering a request", self._timeout_s)
            else:
                return

    def _is_inbox(self, subject: str) -> bool:
        """Say whether answers may go there: else anyone could have us write to any subject that we may publish to."""
        if subject.startswith(INBOXES):
            return True
        # A borrowed client may have another beginning, and says so only by making an inbox.
        beginning = self._connection.client.new_inbox().rpartition(".")[0]
        return subject.startswith(f"{beginning}.")
