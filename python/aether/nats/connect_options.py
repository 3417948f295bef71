"""`ConnectOptions`: who we are to a server, and which TLS it must speak; one value for stores, buses and clusters."""

from __future__ import annotations

import inspect
import os
import ssl
from collections import UserString
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, NoReturn

from aether.nats.keys import check_keys

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias

    File: TypeAlias = str | os.PathLike[str]
    Credentials: TypeAlias = File | tuple[File, File] | UserString

__all__ = ["ConnectOptions"]

_SHOWN = ("nkeys_seed", "user_credentials", "tls_hostname", "tls_handshake_first")
_TEXTS = ("user", "password", "token")
_CALLBACKS = ("user_jwt_cb", "signature_cb")


@dataclass(frozen=True, kw_only=True, repr=False)
class ConnectOptions:
    """How to log in, and with which TLS; the names are those of nats-py's `connect`.

    One way to log in, of: user and password; token; an nkey (`nkeys_seed` or `nkeys_seed_str`); a JWT (`user_credentials`, or
    `user_jwt_cb` with `signature_cb`). A token may go with a key, for a server that asks elsewhere who that is. Files are read
    and functions called for each login, so what they give may change while a store is open. No secret is shown by `repr` or
    an error, and the options cannot be pickled.

    Where `tls`, `tls_hostname` or `tls_handshake_first` is given, or the URL is `tls://`, nothing is sent without TLS.

    Args:
        user: text, or a function without arguments that returns it.
        password: the same.
        token: the same.
        nkeys_seed: a file that holds a user's nkey seed.
        nkeys_seed_str: the seed itself.
        user_credentials: a credentials file (JWT and seed), as `nsc` makes it; or a pair of files, the JWT's and the seed's; or
            nats-py's `RawCredentials`, the text itself.
        user_jwt_cb: returns the user's JWT as bytes.
        signature_cb: takes the server's nonce, and returns its signature in base64, as bytes.
        tls: whom to trust, and the client's own certificate; None: the system's certificate authorities.
        tls_hostname: the name that the server's certificate must have, where it is not the URL's host.
        tls_handshake_first: TLS begins with the first byte, as a server with `handshake_first` wants it.

    Raises:
        ValueError: settings contradict each other, or a file cannot be read or does not hold what it should.
        TypeError: a setting is of another type.
        MissingExtraError: a key is given, and what signs with it is not installed.
    """

    user: str | Callable[[], str] | None = None
    password: str | Callable[[], str] | None = None
    token: str | Callable[[], str] | None = None
    nkeys_seed: File | None = None
    nkeys_seed_str: str | None = None
    user_credentials: Credentials | None = None
    user_jwt_cb: Callable[[], bytes | bytearray] | None = None
    signature_cb: Callable[[str], bytes | bytearray] | None = None
    tls: ssl.SSLContext | None = None
    tls_hostname: str | None = None
    tls_handshake_first: bool = False

    def __post_init__(self) -> None:
        self._check_types()
        if (self.user is None) != (self.password is None):
            raise ValueError("user and password go together; one of them is missing")
        if (self.user_jwt_cb is None) != (self.signature_cb is None):
            raise ValueError("user_jwt_cb and signature_cb go together; one of them is missing")
        ways = [name for name in ("user", "nkeys_seed", "nkeys_seed_str", "user_credentials", "user_jwt_cb") if self._has(name)]
        if self.token is not None and "user" in ways:
            ways.append("token")
        if len(ways) > 1:
            raise ValueError(f"{' and '.join(ways)} are different ways to log in; give one of them")
        if self.tls is not None and self.tls.protocol is ssl.PROTOCOL_TLS_SERVER:
            raise ValueError("tls is a server's context; ssl.create_default_context() makes a client's")
        check_keys(self)

    def __repr__(self) -> str:
        given = [(field.name, getattr(self, field.name)) for field in fields(self) if self._has(field.name)]
        said = (
            f"{name}={value!r}" if name in _SHOWN and not isinstance(value, UserString) else f"{name}=…" for name, value in given
        )
        return f"ConnectOptions({', '.join(said)})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("ConnectOptions are not pickled, so that no secret travels; make them where they are used")

    @property
    def logs_in(self) -> bool:
        """Whether they say who we are."""
        return any(self._has(name) for name in (*_TEXTS, *_CALLBACKS, "nkeys_seed", "nkeys_seed_str", "user_credentials"))

    @property
    def wants_tls(self) -> bool:
        """Whether they demand TLS, whatever the URL says."""
        return self.tls is not None or self.tls_hostname is not None or self.tls_handshake_first

    def _has(self, name: str) -> bool:
        return getattr(self, name) not in (None, False)

    def _check_types(self) -> None:
        kinds: dict[str, tuple[type[Any], ...]] = {
            "nkeys_seed": (str, os.PathLike),
            "nkeys_seed_str": (str,),
            "user_credentials": (str, os.PathLike, tuple, UserString),
            "tls": (ssl.SSLContext,),
            "tls_hostname": (str,),
            "tls_handshake_first": (bool,),
        }
        for name in (*_TEXTS, *_CALLBACKS):
            _check_text(name, getattr(self, name), (str,) if name in _TEXTS else ())
        for name, kind in kinds.items():
            value = getattr(self, name)
            if value is not None and not isinstance(value, kind):
                raise TypeError(f"{name} cannot be of type {type(value).__name__}")
            if isinstance(value, str) and not value:
                raise ValueError(f"{name} is empty")
        if isinstance(self.user_credentials, tuple) and [isinstance(f, str | os.PathLike) for f in self.user_credentials] != [
            True,
            True,
        ]:
            raise TypeError("user_credentials must be one file, or two: the JWT's and the seed's")


def _check_text(name: str, value: object, also: tuple[type, ...]) -> None:
    """Take text or a plain function."""
    if value is None:
        return
    if inspect.iscoroutinefunction(value):
        raise TypeError(f"{name} must be a plain function, not a coroutine function")
    if not callable(value) and not isinstance(value, also):
        raise TypeError(f"{name} cannot be of type {type(value).__name__}")
    if value == "":
        raise ValueError(f"{name} is empty")
