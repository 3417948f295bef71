"""Where a lane goes and as whom: a server's address, its TLS, and what CONNECT says."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from typing import Any
from urllib.parse import ParseResult, unquote

__all__ = ["Server"]

DEFAULT_PORT = 4222


@dataclass(frozen=True, repr=False)
class Server:
    """One server, and who we are to it.

    Attributes:
        host, port: where it listens.
        tls: whether the URL demands TLS; a server that requires it gets it in any case.
        tls_hostname: the name that its certificate must have.
        handshake_first: TLS begins with the first byte, before the server says anything.
        shown: the server for messages, without credentials.
    """

    host: str
    port: int
    shown: str
    tls: bool = False
    tls_hostname: str | None = None
    handshake_first: bool = False
    user: str | None = None
    password: str | None = None

    @classmethod
    def of(cls, url: ParseResult, shown: str) -> Server:
        """Take the server, with user and password or a token, from a URL."""
        host = url.hostname or ""
        return cls(
            host=host,
            port=url.port or DEFAULT_PORT,
            shown=shown,
            tls=url.scheme == "tls",
            tls_hostname=host,
            user=None if url.username is None else unquote(url.username),
            password=None if url.password is None else unquote(url.password),
        )

    def __repr__(self) -> str:
        return f"<Server {self.shown}>"

    def tls_context(self) -> ssl.SSLContext:
        """Trust the system's certificates."""
        return ssl.create_default_context()

    def hello(self, nonce: str) -> dict[str, Any]:  # noqa: ARG002 - what a key signs
        """Return what CONNECT says."""
        said: dict[str, Any] = {
            "verbose": False,
            "pedantic": False,
            "lang": "python-aether",
            "version": "1",
            "name": "aether lane",
            "protocol": 1,
            "headers": True,
            "no_responders": True,
            "echo": True,
        }
        if self.user is not None and self.password is not None:
            said |= {"user": self.user, "pass": self.password}
        elif self.user is not None:
            said["auth_token"] = self.user
        return said
