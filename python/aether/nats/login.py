"""Where a connection goes and as whom: the servers of the URLs, their TLS, and what CONNECT says to each.

Both connections, nats-py's and the lane's, ask here, so that they are the same client to the server.
"""

from __future__ import annotations

import importlib.util
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from aether.errors import AccessDeniedError, MissingExtraError
from aether.nats.connect_options import ConnectOptions
from aether.nats.keys import called, key_claims
from aether.nats.urls import redacted

if TYPE_CHECKING:
    from collections.abc import Sequence
    from urllib.parse import ParseResult, SplitResult

__all__ = ["Login", "Server"]

DEFAULT_PORT = 4222
WEBSOCKET = ("ws", "wss")
WITH_TLS = ("tls", "wss")


class Login:
    """Who we are to each of some servers; URLs and options, judged together.

    Args:
        urls: NATS URLs, with credentials or without; those without, and servers that the cluster tells of, get the first's.
        options: the options.

    Attributes:
        urls: the URLs without credentials, for nats-py, which neither decodes them nor gives them to servers it is told of.
        options: the options.

    Raises:
        ValueError: URLs and options contradict each other.
        MissingExtraError: a WebSocket URL, and what speaks that is not installed.
    """

    def __init__(self, urls: Sequence[str], options: ConnectOptions | None = None) -> None:
        self.options = options or ConnectOptions()
        split = [urlsplit(url) for url in urls]
        self._check(split)
        self.urls = [url._replace(netloc=url.netloc.rpartition("@")[2]).geturl() for url in split]
        given = {_place(url): _url_claims(url) for url in split if url.username is not None}
        self._first = next(iter(given.values()), {})
        self._of_server = {_place(url): given.get(_place(url), self._first) for url in split}
        self._with_tls = {_place(url): url.scheme in WITH_TLS for url in split}

    def _check(self, split: Sequence[SplitResult]) -> None:
        schemes = {url.scheme for url in split}
        if len({scheme in WEBSOCKET for scheme in schemes}) > 1:
            raise ValueError("ws:// and nats:// do not go together; give servers of one kind")
        if self.options.logs_in and any(url.username is not None for url in split):
            raise ValueError("both the URL and the options have credentials; give them in one place")
        if "ws" in schemes and self.options.wants_tls:
            raise ValueError("a ws:// URL is without TLS, which the options ask for; type wss://")
        if "wss" in schemes and self.options.tls_hostname is not None:
            raise ValueError("tls_hostname does not work over WebSocket; type the host that the certificate names")
        if schemes.intersection(WEBSOCKET) and importlib.util.find_spec("aiohttp") is None:
            raise MissingExtraError("A WebSocket URL", "websocket")

    def claims(self, url: ParseResult, nonce: str) -> dict[str, str]:
        """Return what CONNECT says of who we are.

        Args:
            url: the server.
            nonce: what it wants signed; empty: it knows nobody by a key.

        Raises:
            AccessDeniedError: a file or function does not give what it should.
        """
        options = self.options
        try:
            said = key_claims(options, nonce) if nonce else {}
            if options.token is not None:
                said["auth_token"] = _value("token", options.token)
            if options.user is not None:
                said |= {"user": _value("user", options.user), "pass": _value("password", options.password)}
        except ValueError as error:
            raise AccessDeniedError(redacted(url.geturl()), str(error)) from error
        return said or self._of_server.get(_place(url), self._first)

    def demands_tls(self, url: ParseResult) -> bool:
        """Say whether nothing may be sent to this server without TLS."""
        listed = self._with_tls.get(_place(url))
        return self.options.wants_tls or (any(self._with_tls.values()) if listed is None else listed)

    def server(self, url: ParseResult, tls_name: str | None = None) -> Server:
        """Return what a lane needs to know of a server.

        Args:
            url: the server.
            tls_name: the name its certificate must have, where nats-py knows one that is not in the URL.
        """
        return Server(
            url=url,
            login=self,
            tls=self.demands_tls(url),
            tls_hostname=self.options.tls_hostname or tls_name or url.hostname or "",
            handshake_first=self.options.tls_handshake_first,
        )


@dataclass(frozen=True, repr=False)
class Server:
    """One server, and who we are to it.

    Attributes:
        url: where it listens; without credentials.
        login: who we are.
        tls: whether TLS is demanded; a server that requires it gets it in any case.
        tls_hostname: the name that its certificate must have.
        handshake_first: TLS begins with the first byte, before the server says anything.
    """

    url: ParseResult
    login: Login
    tls: bool = False
    tls_hostname: str | None = None
    handshake_first: bool = False

    def __repr__(self) -> str:
        return f"<Server {self.shown}>"

    @property
    def host(self) -> str:
        """The host."""
        return self.url.hostname or ""

    @property
    def port(self) -> int:
        """The port."""
        return self.url.port or DEFAULT_PORT

    @property
    def shown(self) -> str:
        """The server for messages."""
        return redacted(self.url.geturl())

    def tls_context(self) -> ssl.SSLContext:
        """Trust whom the options name, or the system's certificate authorities."""
        return self.login.options.tls or ssl.create_default_context()

    def hello(self, nonce: str) -> dict[str, Any]:
        """Return what CONNECT says.

        Raises:
            AccessDeniedError: a file or function does not give what it should.
        """
        return {
            "verbose": False,
            "pedantic": False,
            "lang": "python-aether",
            "version": "1",
            "name": "aether lane",
            "protocol": 1,
            "headers": True,
            "no_responders": True,
            "echo": True,
            **self.login.claims(self.url, nonce),
        }


def _place(url: ParseResult | SplitResult) -> tuple[str, int]:
    return url.hostname or "", url.port or DEFAULT_PORT


def _url_claims(url: SplitResult) -> dict[str, str]:
    user = unquote(url.username or "")
    return {"auth_token": user} if url.password is None else {"user": user, "pass": unquote(url.password)}


def _value(name: str, given: object) -> str:
    value = called(name, given) if callable(given) else given
    if not isinstance(value, str):
        raise ValueError(f"{name} must return text, not {type(value).__name__}")  # noqa: TRY004 - found while logging in
    return value
