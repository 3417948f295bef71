"""Who a key is: nkey seeds and credentials files, read anew for each login, and the signature of what the server asks.

A server that knows users by their keys sends a nonce; CONNECT answers with its signature, so the seed itself never travels.
nats-py can do the same, but reads a file without a JWT for ever, and keeps the public key of a seed file that has changed.
No message here shows what a file holds, and none is raised while an exception that shows it is handled.
"""

from __future__ import annotations

import base64
import os
import re
from collections import UserString
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aether.errors import MissingExtraError

if TYPE_CHECKING:
    from collections.abc import Callable

    from aether.nats.connect_options import ConnectOptions, Credentials

__all__ = ["check_keys", "key_claims"]

_JWT = re.compile(rb"-{3,}BEGIN NATS USER JWT-{3,}\s*([\w\-.=]+)\s*-{3,}END NATS USER JWT-{3,}", re.ASCII)
_SEED = re.compile(rb"-{3,}BEGIN USER NKEY SEED-{3,}\s*(\w+)\s*-{3,}END USER NKEY SEED-{3,}", re.ASCII)
_BARE_JWT = re.compile(rb"[\w\-]+\.[\w\-]+\.[\w\-]+", re.ASCII)
_LOOKS_SECRET = re.compile(r"^\s*(?:S[A-Z2-7]{20,}|eyJ)|\n|-----")
"""A seed or a JWT where a file's name should be."""


def check_keys(options: ConnectOptions) -> None:
    """Read what there is to read.

    Raises:
        ValueError: a file cannot be read, or does not hold what it should.
        MissingExtraError: the package that signs is not installed.
    """
    if options.user_credentials is not None or options.nkeys_seed is not None or options.nkeys_seed_str is not None:
        key_claims(options, "a nonce")


def key_claims(options: ConnectOptions, nonce: str) -> dict[str, str]:
    """Return what CONNECT says of a key: whose it is, and its signature; nothing where the options have none.

    Raises:
        ValueError: a file cannot be read, or does not hold what it should.
        MissingExtraError: the package that signs is not installed.
    """
    if options.user_credentials is not None:
        jwt, seed = _credentials(options.user_credentials)
        return {"jwt": jwt, "sig": _signed(seed, nonce, "user_credentials")[1]}
    if options.nkeys_seed is not None:
        public, signature = _signed(_seed_in(_read(options.nkeys_seed, "nkeys_seed")), nonce, "nkeys_seed")
        return {"nkey": public, "sig": signature}
    if options.nkeys_seed_str is not None:
        public, signature = _signed(options.nkeys_seed_str.strip().encode(), nonce, "nkeys_seed_str")
        return {"nkey": public, "sig": signature}
    if options.user_jwt_cb is not None and options.signature_cb is not None:
        return {
            "jwt": _text(called("user_jwt_cb", options.user_jwt_cb), "user_jwt_cb"),
            "sig": _text(called("signature_cb", options.signature_cb, nonce), "signature_cb"),
        }
    return {}


def called(name: str, callback: Callable[..., Any], *arguments: str) -> Any:  # noqa: ANN401 - whatever the caller's function gives
    """Call what the caller gave.

    Raises:
        ValueError: it failed.
    """
    try:
        return callback(*arguments)
    except Exception as error:
        raise ValueError(f"{name} failed with {type(error).__name__}") from error


def _text(value: object, name: str) -> str:
    if not isinstance(value, bytes | bytearray):
        raise ValueError(f"{name} must return bytes, not {type(value).__name__}")  # noqa: TRY004 - found while logging in
    return value.decode("ascii", errors="replace")


def _credentials(source: Credentials) -> tuple[str, bytes]:
    if isinstance(source, tuple):
        jwt_file, seed_file = source
        text = _read(jwt_file, "user_credentials").strip()
        found = _JWT.search(text)
        jwt = found[1] if found else text
        if not _BARE_JWT.fullmatch(jwt):
            raise ValueError(f"user_credentials: {_shown(jwt_file)} holds no user JWT")
        return jwt.decode(), _seed_in(_read(seed_file, "user_credentials"))
    raw = isinstance(source, UserString)
    text = str(source).encode() if isinstance(source, UserString) else _read(source, "user_credentials")
    where = "the text" if raw else _shown(source)
    jwt_found, seed_found = _JWT.search(text), _SEED.search(text)
    if jwt_found is None:
        raise ValueError(f"user_credentials: {where} holds no user JWT")
    if seed_found is None:
        raise ValueError(f"user_credentials: {where} holds no nkey seed")
    return jwt_found[1].decode(), seed_found[1]


def _seed_in(text: bytes) -> bytes:
    found = _SEED.search(text)
    return found[1] if found else text.strip()


def _read(file: object, option: str) -> bytes:
    name = os.fspath(file)  # type: ignore[call-overload]  # what the options take has been checked
    if isinstance(name, str) and _LOOKS_SECRET.search(name):
        other = "nkeys_seed_str" if option == "nkeys_seed" else "nats.aio.client.RawCredentials"
        raise ValueError(f"{option} names a file, and this looks like the secret itself; for that there is {other}")
    try:
        return Path(name).read_bytes()
    except OSError as error:
        raise ValueError(f"{option}: {_shown(name)} cannot be read: {error.strerror}") from error


def _shown(file: object) -> str:
    return repr(os.fspath(file))  # type: ignore[call-overload]  # as above


def _signed(seed: bytes, nonce: str, option: str) -> tuple[str, str]:
    """Return the public key, and the nonce's signature."""
    nkeys = _nkeys()
    try:
        pair = nkeys.from_seed(bytearray(seed))
    except (nkeys.NkeysError, ValueError):
        pair = None
    if pair is None or not seed.startswith(b"SU"):
        raise ValueError(f"{option} holds no nkey seed of a user: 58 characters that begin with SU")
    public: str = pair.public_key.decode()
    signature = base64.urlsafe_b64encode(pair.sign(nonce.encode())).rstrip(b"=").decode()
    pair.wipe()
    return public, signature


def _nkeys() -> Any:  # noqa: ANN401 - a package without types
    try:
        import nkeys  # noqa: PLC0415 - only who has a key needs it
    except ImportError as error:
        raise MissingExtraError("Logging in with an nkey or a credentials file", "nkeys") from error
    return nkeys
