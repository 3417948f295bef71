"""What a failed TLS handshake means, by OpenSSL's codes and names, never by its sentences."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

from aether.errors import AccessDeniedError, ServerUnavailableError

if TYPE_CHECKING:
    from aether.errors import AetherError

__all__ = ["tls_error"]

_SELF_SIGNED = frozenset({18, 19})
_NO_ISSUER = frozenset({2, 20, 21})
_WRONG_NAME = frozenset({62, 64})
_CERTIFICATE_REMEDIES = (
    (_SELF_SIGNED | _NO_ISSUER, "to trust who issued it: tls=ssl.create_default_context(cafile=…), or --tls-ca FILE"),
    (_WRONG_NAME, "type the host that it names, or give that name as tls_hostname="),
    (frozenset({10}), "renew it on the server"),
    (frozenset({9}), "look at the clocks of both machines"),
)

_WANTS_OURS = "the server wants a client certificate: tls= with load_cert_chain(…), or --tls-cert FILE --tls-key FILE"
_ALERTS = {
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": _WANTS_OURS,
    "SSLV3_ALERT_HANDSHAKE_FAILURE": "the server refused the handshake; it may want a client certificate",
    "SSLV3_ALERT_BAD_CERTIFICATE": "the server refused the client certificate, or there is none",
    "TLSV1_ALERT_BAD_CERTIFICATE": "the server refused the client certificate, or there is none",
    "TLSV1_ALERT_UNKNOWN_CA": "the server does not trust who issued the client certificate",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": "the client certificate has expired",
    "SSLV3_ALERT_CERTIFICATE_REVOKED": "the client certificate was revoked",
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": "the server refused the client certificate",
    "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE": "the server refused the client certificate: it is not one for clients",
    "TLSV1_ALERT_ACCESS_DENIED": "the server refused the client certificate",
}
_NO_TLS = frozenset(
    {"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST", "UNKNOWN_PROTOCOL", "PACKET_LENGTH_TOO_LONG"}
)
_NO_COMMON = frozenset({"TLSV1_ALERT_PROTOCOL_VERSION", "UNSUPPORTED_PROTOCOL", "NO_PROTOCOLS_AVAILABLE"})


def tls_error(url: str, error: BaseException) -> AetherError | None:
    """Return the error for a handshake that would fail again; None where trying again may help.

    Args:
        url: the server, without credentials.
        error: what was raised; aiohttp and asyncio wrap OpenSSL's.
    """
    cause = _ssl_cause(error)
    if isinstance(cause, ssl.SSLCertVerificationError):
        remedies = [remedy for codes, remedy in _CERTIFICATE_REMEDIES if cause.verify_code in codes]
        words = cause.verify_message.rstrip(". ") or "it could not be verified"
        return ServerUnavailableError(url, "; ".join([f"the server's certificate is not trusted: {words}", *remedies]))
    if cause is None or cause.reason is None:
        return None
    if cause.reason in _ALERTS:
        return AccessDeniedError(url, _ALERTS[cause.reason])
    if cause.reason in _NO_TLS:
        return ServerUnavailableError(
            url, "what answers there does not begin with TLS; leave out tls_handshake_first, or look at the port"
        )
    if cause.reason in _NO_COMMON:
        return ServerUnavailableError(url, "server and client have no version of TLS in common")
    return None


def _ssl_cause(error: BaseException) -> ssl.SSLError | None:
    # aiohttp's own is one of OpenSSL's by class, and has none of its attributes; so what it wraps comes first.
    for found in (getattr(error, "certificate_error", None), getattr(error, "os_error", None), error.__cause__, error):
        if isinstance(found, ssl.SSLError):
            return found
    return None
