"""Users known by a key, as `nk` and `nsc` make them: seeds, JWTs, credentials files, and what a server must be told of them."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import time
from typing import Any

import nkeys

UNLIMITED = {
    "subs": -1,
    "data": -1,
    "payload": -1,
    "imports": -1,
    "exports": -1,
    "wildcards": True,
    "conn": -1,
    "leaf": -1,
    "mem_storage": -1,
    "disk_storage": -1,
    "streams": -1,
    "consumer": -1,
}


class Key:
    """A new pair of keys."""

    def __init__(self, prefix: int = nkeys.PREFIX_BYTE_USER) -> None:
        self.seed: str = nkeys.encode_seed(os.urandom(32), prefix).decode()
        self._pair = nkeys.from_seed(bytearray(self.seed.encode()))
        self.public: str = self._pair.public_key.decode()

    def sign(self, data: bytes) -> bytes:
        """The signature."""
        signature: bytes = self._pair.sign(data)
        return signature

    def jwt(self, subject: Key, name: str, claims: dict[str, Any]) -> str:
        """A JWT of `subject`, issued by this key."""
        body = {
            "iat": int(time.time()),
            "iss": self.public,
            "name": name,
            "sub": subject.public,
            "nats": {"version": 2, **claims},
        }
        body["jti"] = base64.b32encode(hashlib.sha256(json.dumps(body).encode()).digest()).decode().rstrip("=")
        signed = f"{_encoded({'typ': 'JWT', 'alg': 'ed25519-nkey'})}.{_encoded(body)}"
        return f"{signed}.{_unpadded(self.sign(signed.encode()))}"


class Operator:
    """An operator with one account that may use JetStream."""

    def __init__(self) -> None:
        self._operator, self._account = Key(nkeys.PREFIX_BYTE_OPERATOR), Key(nkeys.PREFIX_BYTE_ACCOUNT)
        self._system = Key(nkeys.PREFIX_BYTE_ACCOUNT)
        claims = {"type": "operator", "system_account": self._system.public}
        self.settings: dict[str, Any] = {
            "operator": self._operator.jwt(self._operator, "operator", claims),
            "resolver": "MEMORY",
            "system_account": self._system.public,
            "resolver_preload": self._accounts({}),
        }

    def without(self, key: Key) -> dict[str, Any]:
        """The settings of a server that this user may use no more."""
        return {**self.settings, "resolver_preload": self._accounts({key.public: int(time.time()) + 60})}

    def _accounts(self, revoked: dict[str, int]) -> dict[str, str]:
        app = {"type": "account", "limits": UNLIMITED, "revocations": revoked}
        # The server's own account may not use JetStream.
        system = {"type": "account", "limits": {**UNLIMITED, "mem_storage": 0, "disk_storage": 0}}
        return {
            self._account.public: self._operator.jwt(self._account, "app", app),
            self._system.public: self._operator.jwt(self._system, "system", system),
        }

    def user(self, key: Key) -> str:
        """The JWT of a user of the account."""
        return self._account.jwt(key, "user", {"type": "user", "pub": {}, "sub": {}, "subs": -1, "data": -1, "payload": -1})

    def credentials(self, key: Key) -> str:
        """The text of a credentials file."""
        return credentials(self.user(key), key.seed)


def credentials(jwt: str, seed: str) -> str:
    """The text of a credentials file, as nsc writes it."""
    return (
        f"-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\n"
        "************************* IMPORTANT *************************\n"
        "NKEY Seed printed below can be used to sign and prove identity.\n\n"
        f"-----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
    )


def _encoded(value: dict[str, Any]) -> str:
    return _unpadded(json.dumps(value, separators=(",", ":")).encode())


def _unpadded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
