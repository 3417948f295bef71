"""Errors of servers: none there, none that will do, or one that refuses."""

from __future__ import annotations

from aether.errors.base import AetherError

__all__ = [
    "AccessDeniedError",
    "ServerRefusedError",
    "ServerUnavailableError",
    "ServersUnreachableError",
    "StoreDirectoryInUseError",
    "UnsupportedServerError",
]


class ServerUnavailableError(AetherError, ConnectionError):
    """No server answers, or the one that does cannot serve now.

    Attributes:
        url: where it was looked for, without credentials.
        reason: what happened, and what to type next.
    """

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(url, reason)
        self.url, self.reason = url, reason

    def __str__(self) -> str:
        return f"{self.url}: {self.reason}"


class UnsupportedServerError(ServerUnavailableError):
    """The server answers, but lacks what Aether needs: its version is too old, or JetStream is off."""


class ServersUnreachableError(ServerUnavailableError):
    """Servers of the cluster through which it could not be proven that a subscription hears what is published there.

    Attributes:
        servers: their URLs, without credentials.
        why: what happened at the first of them; empty where there is no more to say.
    """

    def __init__(self, servers: tuple[str, ...], why: str = "") -> None:
        cure = 'bring them back, or settle for the own server with ready="server"'
        because = f" ({why})" if why else ""
        super().__init__(", ".join(servers), f"not reached{because}, so events published there may not be heard yet; {cure}")
        self.args = (servers, why)
        self.servers, self.why = servers, why


class ServerRefusedError(AetherError):
    """JetStream answered no, for a reason that Aether has no name for; nothing was stored.

    Attributes:
        what: the stream or the call.
        err_code: JetStream's number for it, as its documentation lists them.
        description: JetStream's own words.
    """

    def __init__(self, what: str, err_code: int, description: str) -> None:
        super().__init__(what, err_code, description)
        self.what, self.err_code, self.description = what, err_code, description

    def __str__(self) -> str:
        return f"{self.what}: JetStream refused with error {self.err_code}: {self.description}"


class AccessDeniedError(AetherError, PermissionError):
    """The server refused the credentials, or the account may not do this.

    Attributes:
        url: the server, without credentials.
        reason: what it refused.
    """

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(url, reason)
        self.url, self.reason = url, reason

    def __str__(self) -> str:
        return f"{self.url}: {self.reason}"


class StoreDirectoryInUseError(AetherError):
    """Another embedded server owns this directory.

    Attributes:
        directory: the directory.
        owner_pid: the owning process, or 0 where that cannot be told.
    """

    def __init__(self, directory: str, owner_pid: int) -> None:
        super().__init__(directory, owner_pid)
        self.directory, self.owner_pid = directory, owner_pid

    def __str__(self) -> str:
        owner = f"process {self.owner_pid}" if self.owner_pid else "another process"
        return f"{self.directory} is in use by {owner}; connect to that server by its URL, end it, or name another directory"
