"""The seam where NATS's errors become Aether's: everything is mapped, by class or by number, never by a description."""

from __future__ import annotations

import inspect
import socket

import nats.errors
import nats.js.errors
import pytest

from aether import (
    AccessDeniedError,
    AetherError,
    ServerRefusedError,
    ServerUnavailableError,
    StoreFullError,
    UnsupportedServerError,
)
from aether.nats.errors import CONFLICT, FULL, JETSTREAM_OFF, TRY_AGAIN, api_error, client_error, denied, login_refused

URL = "nats://example:4222"

MAPPED: dict[str, type[AetherError]] = {
    "nats.errors.Error": ServerUnavailableError,
    "nats.errors.TimeoutError": ServerUnavailableError,
    "nats.errors.NoRespondersError": ServerUnavailableError,
    "nats.errors.StaleConnectionError": ServerUnavailableError,
    "nats.errors.OutboundBufferLimitError": ServerUnavailableError,
    "nats.errors.UnexpectedEOF": ServerUnavailableError,
    "nats.errors.FlushTimeoutError": ServerUnavailableError,
    "nats.errors.ConnectionClosedError": ServerUnavailableError,
    "nats.errors.SecureConnRequiredError": ServerUnavailableError,
    "nats.errors.SecureConnWantedError": ServerUnavailableError,
    "nats.errors.SecureConnFailedError": ServerUnavailableError,
    "nats.errors.BadSubscriptionError": ServerUnavailableError,
    "nats.errors.BadSubjectError": ServerUnavailableError,
    "nats.errors.BadHeaderError": ServerUnavailableError,
    "nats.errors.SlowConsumerError": ServerUnavailableError,
    "nats.errors.BadTimeoutError": ServerUnavailableError,
    "nats.errors.AuthorizationError": AccessDeniedError,
    "nats.errors.NoServersError": ServerUnavailableError,
    "nats.errors.JsonParseError": ServerUnavailableError,
    "nats.errors.MaxPayloadError": ServerUnavailableError,
    "nats.errors.DrainTimeoutError": ServerUnavailableError,
    "nats.errors.ConnectionDrainingError": ServerUnavailableError,
    "nats.errors.ConnectionReconnectingError": ServerUnavailableError,
    "nats.errors.InvalidUserCredentialsError": AccessDeniedError,
    "nats.errors.InvalidCallbackTypeError": ServerUnavailableError,
    "nats.errors.ProtocolError": ServerUnavailableError,
    "nats.errors.ServerNotInPoolError": ServerUnavailableError,
    "nats.errors.NotJSMessageError": ServerUnavailableError,
    "nats.errors.MsgAlreadyAckdError": ServerUnavailableError,
    "nats.js.errors.Error": ServerUnavailableError,
    "nats.js.errors.APIError": ServerRefusedError,
    "nats.js.errors.ServiceUnavailableError": ServerRefusedError,
    "nats.js.errors.ServerError": ServerRefusedError,
    "nats.js.errors.NotFoundError": ServerRefusedError,
    "nats.js.errors.BadRequestError": ServerRefusedError,
    "nats.js.errors.ConsumerInvalidResetError": ServerRefusedError,
    "nats.js.errors.NoStreamResponseError": ServerUnavailableError,
    "nats.js.errors.TooManyStalledMsgsError": ServerUnavailableError,
    "nats.js.errors.FetchTimeoutError": ServerUnavailableError,
    "nats.js.errors.ConsumerSequenceMismatchError": ServerUnavailableError,
    "nats.js.errors.BucketNotFoundError": ServerRefusedError,
    "nats.js.errors.BadBucketError": ServerRefusedError,
    "nats.js.errors.KeyValueError": ServerRefusedError,
    "nats.js.errors.KeyDeletedError": ServerRefusedError,
    "nats.js.errors.KeyNotFoundError": ServerRefusedError,
    "nats.js.errors.KeyWrongLastSequenceError": ServerRefusedError,
    "nats.js.errors.NoKeysError": ServerRefusedError,
    "nats.js.errors.KeyHistoryTooLargeError": ServerRefusedError,
    "nats.js.errors.InvalidKeyError": ServerUnavailableError,
    "nats.js.errors.InvalidBucketNameError": ServerUnavailableError,
    "nats.js.errors.InvalidObjectNameError": ServerUnavailableError,
    "nats.js.errors.BadObjectMetaError": ServerUnavailableError,
    "nats.js.errors.LinkIsABucketError": ServerUnavailableError,
    "nats.js.errors.DigestMismatchError": ServerUnavailableError,
    "nats.js.errors.ObjectNotFoundError": ServerRefusedError,
    "nats.js.errors.ObjectDeletedError": ServerRefusedError,
    "nats.js.errors.ObjectAlreadyExists": ServerUnavailableError,
    "nats.js.errors.KeyValueLimitMarkerTTLNotSupportedError": ServerUnavailableError,
}


def classes() -> dict[str, type[BaseException]]:
    """Every exception class that nats-py defines."""
    return {
        f"{module.__name__}.{name}": kind
        for module in (nats.errors, nats.js.errors)
        for name, kind in vars(module).items()
        if inspect.isclass(kind) and issubclass(kind, BaseException) and kind.__module__ == module.__name__
    }


def test_every_class_of_nats_py_is_decided_on() -> None:
    """A class that a later nats-py adds, or drops, fails here, so that somebody decides what it means."""
    assert set(classes()) == set(MAPPED)


@pytest.mark.parametrize("name", MAPPED)
def test_every_class_becomes_an_error_of_ours(name: str) -> None:
    """Each exception that nats-py can raise becomes the decided `AetherError`, with the server's address or the call."""
    kind = classes()[name]
    parameters = [
        parameter
        for parameter in list(inspect.signature(kind.__init__).parameters.values())[1:]
        if parameter.kind is parameter.POSITIONAL_OR_KEYWORD
    ]
    needed = kind is nats.js.errors.ConsumerSequenceMismatchError or any(p.default is p.empty for p in parameters)
    error = client_error(URL, kind(*(range(len(parameters)) if needed else ())))
    assert type(error) is MAPPED[name]
    assert URL in str(error) or isinstance(error, ServerRefusedError)


@pytest.mark.parametrize("error", [OSError("odd"), ConnectionRefusedError(111, "Connect call failed"), TimeoutError()])
def test_errors_of_the_system_are_unavailable(error: Exception) -> None:
    """What the operating system says is `ServerUnavailableError` that is never empty."""
    told = client_error(URL, error)
    assert type(told) is ServerUnavailableError
    assert len(told.reason) > 2


def test_errors_of_the_system_are_in_words() -> None:
    """A refused connection and an unknown host read as a person would say it."""
    refused = client_error(URL, ConnectionRefusedError(111, "Connect call failed ('127.0.0.1', 4222)"))
    assert refused.args[1] == "Connection refused"
    unknown = client_error(URL, socket.gaierror(socket.EAI_NONAME, "Name or service not known"))
    assert unknown.args[1] == "Name or service not known"


def test_an_error_of_ours_stays() -> None:
    """What is mapped already is not mapped again."""
    error = StoreFullError("s", "l", "r")
    assert client_error(URL, error) is error


CODES: list[tuple[int, int, type[AetherError]]] = [
    *((503, code, ServerUnavailableError) for code in TRY_AGAIN),
    *((500, code, StoreFullError) for code in FULL),
    *((503, code, UnsupportedServerError) for code in JETSTREAM_OFF),
    (503, 0, ServerUnavailableError),
    (503, 99999, ServerUnavailableError),
    (400, 10071, ServerRefusedError),
    (400, 10025, ServerRefusedError),
    (404, 10059, ServerRefusedError),
    (400, 0, ServerRefusedError),
]


@pytest.mark.parametrize(("code", "err_code", "kind"), CODES)
def test_an_answer_that_says_no_is_judged_by_its_number(code: int, err_code: int, kind: type[AetherError]) -> None:
    """JetStream's number decides, whatever the words are; number and words stay in the message."""
    for description in ("wrong last sequence: 5", "maximum bytes exceeded", "some words"):
        error = api_error(URL, "STREAM", code, err_code, description)
        assert type(error) is kind
        assert description in str(error)
        assert str(err_code) in str(error)


def test_the_tables_do_not_overlap() -> None:
    """No number means two things."""
    tables = [CONFLICT, TRY_AGAIN, FULL, JETSTREAM_OFF]
    assert sum(map(len, tables)) == len(frozenset().union(*tables))


@pytest.mark.parametrize(
    ("text", "publish", "subject"),
    [
        ('nats: permissions violation for publish to "aether.n.1.a-b"', True, "aether.n.1.a-b"),
        ("nats: 'Permissions Violation for Publish to \"aether.N.1.A-b\"'", True, "aether.n.1.a-b"),
        ('nats: permissions violation for subscription to "_inbox.x.*"', False, "_inbox.x.*"),
        ("nats: 'Permissions Violation for Publish with Reply of \"_INBOX.x.7\"'", False, "_inbox.x.7"),
    ],
)
def test_a_denied_subject_is_read_from_the_protocol(text: str, publish: bool, subject: str) -> None:
    """The protocol's -ERR has no number, so its words are read; nats-py folds their case, so case does not count."""
    what = denied(nats.errors.Error(text))
    assert what is not None
    assert (what.publish, what.subject) == (publish, subject)


@pytest.mark.parametrize(
    ("text", "told", "queue", "sid"),
    [
        ("nats: 'Permissions Violation for Subscription to \"a.N.*\"'", "a.N.*", None, None),
        ('nats: \'Permissions Violation for Subscription to "a.N.*" using queue "Workers"\'', "a.N.*", "Workers", None),
        ('nats: \'Permissions Violation for Subscription to "a.N.*" (sid "17")\'', "a.N.*", None, 17),
    ],
)
def test_a_denied_subscription_is_told_by_its_group_or_number(text: str, told: str, queue: str | None, sid: int | None) -> None:
    """Which subscription it is the server says by subject and group, or by its number where it takes back what it allowed."""
    what = denied(nats.errors.Error(text))
    assert what is not None
    assert (what.told, what.queue, what.sid, what.publish) == (told, queue, sid, False)


def test_other_errors_deny_nothing() -> None:
    """Only a permissions violation names a denied subject, only an authorization violation is a refused login."""
    assert denied(nats.errors.Error("nats: 'maximum connections exceeded'")) is None
    assert not login_refused(nats.errors.Error("nats: 'maximum connections exceeded'"))
    assert login_refused(nats.errors.Error("nats: 'Authorization Violation'"))
    assert login_refused(nats.errors.Error("nats: 'user authentication expired'"))
    assert not login_refused(OSError("Authorization Violation"))
