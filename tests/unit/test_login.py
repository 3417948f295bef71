"""`ConnectOptions` and what becomes of them: judged before anything is connected, and never shown."""

from __future__ import annotations

import importlib.util
import pickle
import ssl
import sys
from typing import TYPE_CHECKING, Any
from urllib.parse import urlparse

import pytest
from nats.aio.client import Client, RawCredentials

from aether import AccessDeniedError, ConnectOptions, JetStreamEventStore, MissingExtraError, sync
from aether.nats.login import Login

if TYPE_CHECKING:
    from pathlib import Path

SEED = "SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY"
PUBLIC = "UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4"
"""A pair of keys from the documentation of NATS."""

CREDENTIALS = f"""-----BEGIN NATS USER JWT-----
eyJ.abc-_.def
------END NATS USER JWT------

-----BEGIN USER NKEY SEED-----
{SEED}
------END USER NKEY SEED------
"""


def plain(*_: object) -> Any:
    """A function that gives nothing of use."""


async def coroutine() -> str:
    """What nats-py would not wait for."""
    return ""


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"user": "me"}, "user and password go together"),
        ({"password": "s3cret"}, "user and password go together"),
        ({"user": "me", "password": "s3cret", "token": "s3cret"}, "user and token are different ways"),
        ({"user": "me", "password": "s3cret", "nkeys_seed_str": SEED}, "user and nkeys_seed_str are different ways"),
        ({"nkeys_seed": "s3cret.nk", "nkeys_seed_str": SEED}, "nkeys_seed and nkeys_seed_str are different ways"),
        ({"user_jwt_cb": plain}, "user_jwt_cb and signature_cb go together"),
        ({"signature_cb": plain}, "user_jwt_cb and signature_cb go together"),
        ({"user": "", "password": "s3cret"}, "user is empty"),
        ({"token": ""}, "token is empty"),
        ({"tls_hostname": ""}, "tls_hostname is empty"),
        ({"tls": ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)}, "a server's context"),
        ({"nkeys_seed_str": "not-a-s3cret"}, "nkeys_seed_str holds no nkey seed"),
        ({"nkeys_seed_str": "SAANDLKMXL6CUS3CP52WIXBEDN6YJ545GDKC65U5JZPPV6WH6ESWUA6YAI"}, "nkey seed of a user"),
        ({"nkeys_seed": SEED}, "names a file.*nkeys_seed_str"),
        ({"user_credentials": CREDENTIALS}, "names a file.*RawCredentials"),
        ({"user_credentials": RawCredentials("no JWT here, but a s3cret")}, "the text holds no user JWT"),
        ({"user_credentials": RawCredentials(CREDENTIALS.partition("-----BEGIN USER")[0])}, "the text holds no nkey seed"),
    ],
)
def test_options_that_contradict_each_other_are_refused(given: dict[str, Any], says: str) -> None:
    """What cannot be meant, or is no secret of its kind, is a ValueError that names the setting and shows no secret."""
    with pytest.raises(ValueError, match=says) as caught:
        ConnectOptions(**given)
    assert not [secret for secret in ("s3cret", SEED, "eyJ") if secret in f"{caught.value!r}{caught.value.__context__!r}"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("user", 1),
        ("token", b"bytes"),
        ("token", coroutine),
        ("user_jwt_cb", "text"),
        ("nkeys_seed", 1),
        ("nkeys_seed_str", b"bytes"),
        ("user_credentials", ("one",)),
        ("user_credentials", ("one", 2)),
        ("tls", True),
        ("tls_hostname", 1),
        ("tls_handshake_first", 1),
    ],
)
def test_a_setting_of_another_type_is_named(name: str, value: Any) -> None:
    """A value of a type that cannot work is a TypeError that names the setting."""
    others = {"user": "password", "user_jwt_cb": "signature_cb"}
    with pytest.raises(TypeError, match=name):
        ConnectOptions(**{name: value, **({others[name]: plain} if name in others else {})})


@pytest.mark.parametrize("option", ["nkeys_seed", "user_credentials"])
def test_a_file_that_is_missing_or_no_such_file_is_named(option: str, tmp_path: Path) -> None:
    """A file that is not there, is a directory, or holds something else is a ValueError with its name."""
    file = tmp_path / "me.key"
    with pytest.raises(ValueError, match=r"me\.key' cannot be read: No such file"):
        ConnectOptions(**{option: file})
    file.write_bytes(b"\xff\x00 s3cret")
    with pytest.raises(ValueError, match=option) as caught:
        ConnectOptions(**{option: str(file)})
    assert "s3cret" not in f"{caught.value!r}{caught.value.__context__!r}"
    with pytest.raises(ValueError, match="cannot be read: Is a directory"):
        ConnectOptions(**{option: tmp_path})


def test_no_secret_is_shown_or_pickled(tmp_path: Path) -> None:
    """`repr` and `str` name what is set and show only files and TLS settings; pickling is refused."""
    file = tmp_path / "me.creds"
    file.write_text(CREDENTIALS)
    for options, shown in (
        (ConnectOptions(user="s3cret", password="s3cret"), "ConnectOptions(user=…, password=…)"),
        (ConnectOptions(token="s3cret", nkeys_seed_str=SEED), "ConnectOptions(token=…, nkeys_seed_str=…)"),
        (ConnectOptions(user_credentials=RawCredentials(CREDENTIALS)), "ConnectOptions(user_credentials=…)"),
        (ConnectOptions(user_credentials=str(file)), f"ConnectOptions(user_credentials={str(file)!r})"),
        (ConnectOptions(tls=ssl.create_default_context(), tls_hostname="a"), "ConnectOptions(tls=…, tls_hostname='a')"),
    ):
        assert repr(options) == str(options) == f"{options}" == shown
        with pytest.raises(TypeError, match="not pickled"):
            pickle.dumps(options)


URL = "nats://h:1"


@pytest.mark.parametrize(
    ("url", "given", "says"),
    [
        ("nats://me:s3cret@h", {"token": "s3cret"}, "in one place"),
        ("nats://h,tls://s3cret@i", {"nkeys_seed_str": SEED}, "in one place"),
        ("ws://h", {"tls_hostname": "a"}, "type wss://"),
        ("ws://h", {"tls_handshake_first": True}, "type wss://"),
        ("wss://h", {"tls_hostname": "a"}, "does not work over WebSocket"),
        ("ws://h,nats://h", {}, "do not go together"),
        ("embedded:./data", {"token": "s3cret"}, "an embedded one"),
    ],
)
def test_options_that_do_not_go_with_the_url_are_refused(url: str, given: dict[str, Any], says: str) -> None:
    """What the URL says too, or cannot do, is a ValueError before anything is connected."""
    for make in (JetStreamEventStore, sync.JetStreamEventStore):
        with pytest.raises(ValueError, match=says) as caught:
            make(url, options=ConnectOptions(**given))
        assert "s3cret" not in str(caught.value)


def test_options_beside_a_borrowed_client_are_refused() -> None:
    """A borrowed client has logged in already, so options for it are a ValueError that says so."""
    with pytest.raises(ValueError, match="has logged in already"):
        JetStreamEventStore(Client(), options=ConnectOptions(token="t"))


@pytest.mark.parametrize("target", ["nats://127.0.0.1:1", "embedded:./data", Client()])
def test_what_are_no_options_is_refused(target: str | Client) -> None:
    """Options of another type are a TypeError that says which is needed."""
    with pytest.raises(TypeError, match="must be a ConnectOptions, not dict"):
        JetStreamEventStore(target, options={"token": "t"})  # type: ignore[arg-type]


def test_what_is_not_installed_is_said_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without its package a key, or a WebSocket URL, is `MissingExtraError` with the line to type, before connecting."""
    monkeypatch.setitem(sys.modules, "nkeys", None)
    with pytest.raises(MissingExtraError, match=r"credentials file needs .*aether-events\[nkeys\]"):
        ConnectOptions(nkeys_seed_str=SEED)
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match=r"WebSocket URL needs .*aether-events\[websocket\]"):
        JetStreamEventStore("ws://h")


def claims(url: str, options: ConnectOptions | None = None, *, nonce: str = "", of: str = URL) -> dict[str, str]:
    """What CONNECT says to a server."""
    return Login([url], options).claims(urlparse(of), nonce)


def test_connect_says_what_was_given() -> None:
    """What CONNECT says: URL credentials decoded, functions called each time, a key only where a nonce asks for it."""
    assert claims("nats://a%40b:c%2Fd@h:1") == {"user": "a@b", "pass": "c/d"}
    assert claims("nats://s3cret@h:1", of="nats://10.0.0.1:4222") == {"auth_token": "s3cret"}, "a server the cluster told of"
    answers = iter("ab")
    login = Login([URL], ConnectOptions(token=lambda: next(answers)))
    assert [login.claims(urlparse(URL), "")["auth_token"] for _ in range(2)] == ["a", "b"]
    key = ConnectOptions(nkeys_seed_str=SEED, token="t")
    assert claims(URL, key) == {"auth_token": "t"}
    signed = claims(URL, key, nonce="n")
    assert (signed["nkey"], signed["auth_token"], len(signed["sig"])) == (PUBLIC, "t", 86)


def test_each_server_of_a_list_gets_its_own_credentials() -> None:
    """URLs with credentials of their own keep them; those without get the first's."""
    login = Login(["nats://a:1@h:1", "nats://b:2@h:2", "nats://h:3"])
    assert [login.claims(urlparse(f"nats://h:{port}"), "").get("user") for port in (1, 2, 3)] == ["a", "b", "a"]
    assert login.urls == ["nats://h:1", "nats://h:2", "nats://h:3"]


@pytest.mark.parametrize(
    ("function", "says"),
    [(lambda: 1 // 0, "token failed with ZeroDivisionError"), (lambda: b"s3cret", "token must return text, not bytes")],
)
def test_a_function_that_fails_is_named(function: Any, says: str) -> None:
    """A function that raises, or returns something else, is `AccessDeniedError` that names it and the server."""
    with pytest.raises(AccessDeniedError, match=f"nats://h:1: {says}") as caught:
        claims(URL, ConnectOptions(token=function))
    assert "s3cret" not in str(caught.value)
