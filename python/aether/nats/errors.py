"""The seam where NATS's errors become Aether's: by class and by code, never by a description's text.

The one exception is the NATS protocol's `-ERR`, which has no code: its texts are the protocol.
"""

from __future__ import annotations

import asyncio
import os
import re
from typing import NamedTuple

import nats.errors
import nats.js.errors

from aether.errors import (
    AccessDeniedError,
    AetherError,
    ServerRefusedError,
    ServerUnavailableError,
    StoreFullError,
    UnsupportedServerError,
)

__all__ = [
    "CONFLICT",
    "NO_MESSAGE",
    "NO_STREAM",
    "STREAM_EXISTS",
    "TRY_AGAIN",
    "NoRespondersError",
    "NobodyListensError",
    "UnansweredError",
]

CONFLICT = frozenset({10071, 10164})
"""A guard was refused. 10164 is also what a guarded write gets on R3 while any other write to its subject is in flight."""

TRY_AGAIN = frozenset({10004, 10006, 10007, 10008, 10009, 10118, 10163, 10167})
"""Not stored, and may be well in a moment: no leader, a new one that still applies, too many at once."""

FULL = frozenset({10002, 10023, 10028, 10047, 10077})
"""A limit of stream, account or disk."""

ALL_SENT = 204
"""The status of the last of several answers, which holds no message."""

UNAVAILABLE = 503
"""HTTP's status, which the protocol also uses for "no responders"."""

JETSTREAM_OFF = frozenset({10035, 10039, 10076})
NO_MESSAGE = frozenset({10037, 10043})
NO_STREAM = frozenset({10059})
STREAM_EXISTS = frozenset({10058})

_DENIED = re.compile(
    r"permissions violation for (publish|subscription|publish with reply) (?:to|of) \"([^\"]+)\""
    r"(?: using queue \"([^\"]+)\")?(?: \(sid \"(\d+)\"\))?",
    re.IGNORECASE,
)
_TOO_MANY = re.compile(r"maximum subscriptions exceeded", re.IGNORECASE)
_REFUSED_LOGIN = re.compile(r"authorization violation|authentication (?:expired|revoked|timeout)", re.IGNORECASE)


class NoRespondersError(Exception):
    """Nobody listens on the subject: the request reached no stream and changed nothing. Internal to this package."""


class NobodyListensError(NoRespondersError):
    """The server says that nobody listens on the subject. Internal to this package."""


class UnansweredError(Exception):
    """Sent, and no answer by the deadline or before the connection was lost: it may have had its effect. Internal."""


class Denied(NamedTuple):
    """What a "permissions violation" names.

    Attributes:
        publish: a publish was denied; else a subscription, or an inbox to reply to, without which nothing is ever answered.
        subject: the subject in lower case, as nats-py folds it.
        told: the subject as it was told.
        queue: the subscription's queue group, where it has one and the server says so.
        sid: the subscription's number, where the server says so: when it takes back what it had allowed.
    """

    publish: bool
    subject: str
    told: str = ""
    queue: str | None = None
    sid: int | None = None

    @property
    def is_inbox(self) -> bool:
        """Whether an inbox is denied: then nothing that is asked there is ever answered."""
        return not self.publish and self.subject.startswith("_inbox.")


def denied(error: BaseException) -> Denied | None:
    """Return what a "permissions violation" names; None for any other error."""
    found = _DENIED.search(str(error))
    if found is None:
        return None
    return Denied(found[1].lower() == "publish", found[2].lower(), found[2], found[3], int(found[4]) if found[4] else None)


def too_many_subscriptions(error: BaseException) -> bool:
    """Say whether the server refused a subscription because there are as many as it allows; it does not say which."""
    return bool(_TOO_MANY.search(str(error)))


def login_refused(error: BaseException) -> bool:
    """Say whether the server refused who we are."""
    return isinstance(error, nats.errors.AuthorizationError | nats.errors.InvalidUserCredentialsError) or bool(
        isinstance(error, nats.errors.Error) and _REFUSED_LOGIN.search(str(error))
    )


def api_error(url: str, what: str, code: int, err_code: int, description: str) -> AetherError:
    """Make the error for an answer of JetStream's that says no.

    Args:
        url: the server, without credentials.
        what: the stream or the call.
        code: the answer's status, as in HTTP.
        err_code: JetStream's own number.
        description: JetStream's own words, for people only.
    """
    if err_code in FULL:
        return StoreFullError(what, f"{description}, error {err_code}", "nothing was stored; free disk space or raise the limit")
    if err_code in JETSTREAM_OFF:
        return UnsupportedServerError(
            url, f"{description} (error {err_code}); start the server with -js, or allow the account JetStream"
        )
    if err_code in TRY_AGAIN or code == UNAVAILABLE:
        return ServerUnavailableError(url, f"{what}: {description} (error {err_code}); try again in a moment")
    return ServerRefusedError(what, err_code, description)


_UNREACHABLE = (
    OSError,
    asyncio.TimeoutError,
    nats.errors.NoServersError,
    nats.errors.StaleConnectionError,
    nats.errors.ConnectionClosedError,
    nats.errors.ConnectionDrainingError,
    nats.errors.ConnectionReconnectingError,
    nats.errors.OutboundBufferLimitError,
    nats.errors.NoRespondersError,
    nats.errors.SlowConsumerError,
    nats.js.errors.NoStreamResponseError,
    nats.js.errors.TooManyStalledMsgsError,
)


def client_error(url: str, error: BaseException, what: str = "JetStream") -> AetherError:
    """Make the error for an exception that nats-py raised.

    Args:
        url: the server, without credentials.
        error: the exception; any of `nats.errors` and `nats.js.errors`, or the operating system's.
        what: the call, for what JetStream itself refused.
    """
    if isinstance(error, AetherError):
        return error
    if isinstance(error, nats.js.errors.APIError):
        # Those of key-value buckets are API errors without the attributes of one.
        code, err_code, words = (getattr(error, name, None) for name in ("code", "err_code", "description"))
        return api_error(url, what, code or 0, err_code or 0, words or type(error).__name__)
    if login_refused(error) or denied(error):
        return AccessDeniedError(url, f"{_words(error)}; check the credentials, in the URL or the options, and what they may do")
    if isinstance(error, _UNREACHABLE):
        return ServerUnavailableError(url, _words(error))
    return ServerUnavailableError(url, f"the connection failed: {_words(error)}")


def _words(error: BaseException) -> str:
    if isinstance(error, OSError) and error.errno:
        # asyncio's own text says "Connect call failed"; a name that is not found has a number below 0 and a text of its own.
        return os.strerror(error.errno) if error.errno > 0 else str(error.strerror)
    text = str(error).removeprefix("nats: ").strip("' ")
    return text or type(error).__name__
