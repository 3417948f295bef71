"""Every way to log in, on a real server that knows that way only: both connections are let in, a wrong one fast out, unseen."""

from __future__ import annotations

import asyncio
import base64
import logging
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote

import pytest
from faults.reloading import reload
from faults.waiting import until
from key_users import Key, Operator, credentials
from nats.aio.client import RawCredentials
from restarting import write_restart_write

from aether import AccessDeniedError, ConnectOptions, EmbeddedServer, JetStreamEventStore, NewEvent
from aether.testing.servers import running_cluster, running_server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

FAST_S = 60.0
SECRET, WRONG = "s3cret-by-bcrypt", "not-the-s3cret"
BCRYPT = "$2a$04$abcdefghijklmnopqrstuusLaU11qbG8t9nY/HS1uzPh/lEBipjau"
"""Of SECRET, at the lowest cost."""

OPERATOR = Operator()
USER, STRANGER = Key(), Key()


def nkey_user(key: Key) -> dict[str, Any]:
    """A server that knows one user by a key."""
    return {"authorization": {"users": [{"nkey": key.public}]}}


BY_PASSWORD = {"authorization": {"user": "me", "password": SECRET}}
BY_BCRYPT = {"authorization": {"user": "me", "password": BCRYPT}}
BY_TOKEN = {"authorization": {"token": SECRET}}
BY_BCRYPT_TOKEN = {"authorization": {"token": BCRYPT}}
BY_NKEY = nkey_user(USER)


class Way(NamedTuple):
    """A way to log in.

    Attributes:
        settings: the server's.
        options: makes the options for a key, or with a secret, in a directory for files.
        url: what stands before the host in the URL.
    """

    settings: dict[str, Any]
    options: Callable[[Key, str, Path], dict[str, Any]] = lambda _key, _secret, _directory: {}
    url: Callable[[str], str] = lambda _secret: ""


def written(directory: Path, name: str, text: str) -> Path:
    """A file."""
    file = directory / name
    file.write_text(text)
    return file


WAYS = {
    "password": Way(BY_PASSWORD, lambda _, secret, __: {"user": "me", "password": secret}),
    "password-functions": Way(BY_PASSWORD, lambda _, secret, __: {"user": lambda: "me", "password": lambda: secret}),
    "bcrypt": Way(BY_BCRYPT, lambda _, secret, __: {"user": "me", "password": secret}),
    "password-in-url": Way(BY_PASSWORD, url=lambda secret: f"me:{secret}@"),
    "token": Way(BY_TOKEN, lambda _, secret, __: {"token": secret}),
    "token-function": Way(BY_TOKEN, lambda _, secret, __: {"token": lambda: secret}),
    "bcrypt-token": Way(BY_BCRYPT_TOKEN, lambda _, secret, __: {"token": secret}),
    "token-in-url": Way(BY_TOKEN, url=lambda secret: f"{secret}@"),
    "nkey-file": Way(BY_NKEY, lambda key, _, at: {"nkeys_seed": written(at, "me.nk", f"{key.seed}\n")}),
    "nkey-string": Way(BY_NKEY, lambda key, _, __: {"nkeys_seed_str": key.seed}),
    "credentials": Way(
        OPERATOR.settings, lambda key, _, at: {"user_credentials": written(at, "me.creds", OPERATOR.credentials(key))}
    ),
    "credentials-pair": Way(
        OPERATOR.settings,
        lambda key, _, at: {"user_credentials": (written(at, "me.jwt", OPERATOR.user(key)), str(written(at, "me.nk", key.seed)))},
    ),
    "credentials-text": Way(
        OPERATOR.settings, lambda key, _, __: {"user_credentials": RawCredentials(OPERATOR.credentials(key))}
    ),
    "jwt-functions": Way(
        OPERATOR.settings,
        lambda key, _, __: {
            "user_jwt_cb": lambda: OPERATOR.user(key).encode(),
            "signature_cb": lambda nonce: base64.b64encode(key.sign(nonce.encode())),
        },
    ),
}


def options_of(way: Way, key: Key, secret: str, directory: Path) -> ConnectOptions | None:
    """The options of this way, if it has any."""
    given = way.options(key, secret, directory)
    return ConnectOptions(**given) if given else None


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
async def test_who_is_known_is_let_in_and_again_after_a_restart(way: Way, tmp_path: Path) -> None:
    """With the right credentials a store writes and reads over the lane, also after its server was restarted."""
    with running_server(way.settings) as server:
        url = server.url.replace("//", f"//{way.url(SECRET)}")
        async with JetStreamEventStore(url, options=options_of(way, USER, SECRET, tmp_path)) as store:
            await write_restart_write(server, store)


def chain(error: BaseException | None, seen: tuple[BaseException, ...] = ()) -> Iterator[BaseException]:
    """Yield an exception and those behind it."""
    if error is not None and error not in seen:
        yield error
        yield from chain(error.__cause__, (*seen, error))
        yield from chain(error.__context__, (*seen, error))


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
async def test_who_is_unknown_is_refused_fast_and_nothing_is_shown(
    way: Way, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Wrong credentials are `AccessDeniedError` at once; no log, repr, message or exception behind it shows a secret."""
    caplog.set_level(logging.DEBUG)
    asyncio.get_running_loop().set_debug(True)
    # An operator's server knows the account, so a JWT must be wrong: its signature is by another key.
    stranger = Key()
    stranger.sign = STRANGER.sign  # type: ignore[method-assign]  # to sign as somebody else
    given = way.options(stranger, WRONG, tmp_path)
    if way.settings is OPERATOR.settings and "signature_cb" not in given:
        jwt = OPERATOR.user(stranger)
        bad = credentials(jwt, STRANGER.seed)
        pair = (written(tmp_path, "me.jwt", jwt), written(tmp_path, "me.nk", STRANGER.seed))
        is_text, is_pair = isinstance(given["user_credentials"], RawCredentials), isinstance(given["user_credentials"], tuple)
        given = {"user_credentials": RawCredentials(bad) if is_text else pair if is_pair else written(tmp_path, "me.creds", bad)}
    secrets = [WRONG, stranger.seed, STRANGER.seed, "eyJ"]
    with running_server(way.settings) as server:
        url = server.url.replace("//", f"//{way.url(WRONG)}")
        options = ConnectOptions(**given) if given else None
        store = JetStreamEventStore(url, options=options, timeout_s=200)
        async with asyncio.timeout(FAST_S):
            with pytest.raises(AccessDeniedError, match="credentials") as caught:
                await store.append("a", NewEvent("t"))
        await store.aclose()
    shown = [repr(options), str(options), repr(store), repr(store._connection._login.server(caught_url(server)))]
    for error in chain(caught.value):
        shown += [str(error), repr(error), repr(error.args), repr(vars(error))]
    shown += [f"{record.getMessage()} {record.args!r} {record.exc_text}" for record in caplog.records]
    assert not [(secret, text) for secret in secrets for text in shown if secret in text]


def caught_url(server: EmbeddedServer) -> Any:
    """The server's URL, as nats-py has it."""
    from urllib.parse import urlparse

    return urlparse(server.url)


async def test_credentials_of_a_url_may_hold_any_character() -> None:
    """User and password of a URL are decoded, so they may hold what a URL may not."""
    user, password = "a@b/c", "p:w@d %2F ü"
    with running_server({"authorization": {"user": user, "password": password}}) as server:
        url = server.url.replace("//", f"//{quote(user, safe='')}:{quote(password, safe='')}@")
        async with JetStreamEventStore(url) as store:
            await store.append("a", NewEvent("t"))
            assert (await store.info()).transport == "lane"


async def test_a_credentials_file_that_changes_is_read_again(tmp_path: Path) -> None:
    """A seed file that is replaced while the server learns the new key lets the open store go on."""
    file = written(tmp_path, "me.nk", USER.seed)
    with running_server(nkey_user(USER)) as server:
        async with JetStreamEventStore(server.url, options=ConnectOptions(nkeys_seed=file)) as store:
            await store.append("a", NewEvent("t"))
            file.write_text(STRANGER.seed)
            reload(server, nkey_user(STRANGER))
            await server.restart()
            await store.append("a", NewEvent("t"))
            assert await store.get_latest_version("a") == 2
            assert (await store.info()).transport == "lane"


async def test_a_credentials_file_that_is_gone_is_named_and_back_again_used(tmp_path: Path) -> None:
    """Without its file a lost connection is `AccessDeniedError` that names the file; with it the same store goes on."""
    file = written(tmp_path, "me.creds", OPERATOR.credentials(USER))
    with running_server(OPERATOR.settings) as server:
        async with JetStreamEventStore(server.url, options=ConnectOptions(user_credentials=file), timeout_s=200) as store:
            await store.append("a", NewEvent("t"))
            file.rename(tmp_path / "away")
            await server.restart()
            async with asyncio.timeout(FAST_S):
                with pytest.raises(AccessDeniedError, match=r"me\.creds"):
                    await store.get_events("a")
            (tmp_path / "away").rename(file)
            await store.append("a", NewEvent("t"))
            assert await store.get_latest_version("a") == 2


async def test_a_user_who_expires_is_refused() -> None:
    """A JWT that is revoked while the store is open makes calls `AccessDeniedError`."""
    options = ConnectOptions(user_credentials=RawCredentials(OPERATOR.credentials(USER)))
    with running_server(OPERATOR.settings) as server:
        async with JetStreamEventStore(server.url, options=options, timeout_s=200) as store:
            await store.append("a", NewEvent("t"))
            reload(server, OPERATOR.without(USER))
            async with asyncio.timeout(FAST_S):
                with pytest.raises(AccessDeniedError, match="credentials"):
                    await read_for_ever(store)


async def read_for_ever(store: JetStreamEventStore) -> None:
    """Read until that fails."""
    while True:
        await store.get_events("a")


@pytest.mark.parametrize("in_url", [True, False], ids=["url", "options"])
async def test_servers_that_the_cluster_tells_of_get_the_same_credentials(in_url: bool, tmp_path: Path) -> None:
    """A store that knows one server of a cluster goes on at another one when that is killed."""
    options = None if in_url else ConnectOptions(user="me", password="p w")
    with running_cluster({"authorization": {"user": "me", "password": "p w"}}) as cluster:
        url = cluster.urls[0].replace("//", "//me:p%20w@" if in_url else "//")
        async with JetStreamEventStore(url, replicas=3, timeout_s=30, options=options) as store:
            await store.append("a", NewEvent("t"))
            client = store._connection.client
            await until(lambda: len(client.servers) == 3)
            await cluster.kill(0)
            await store.append("a", NewEvent("t"))
            assert await store.get_latest_version("a") == 2
            assert (await store.info()).transport == "lane"


async def test_a_server_that_takes_anybody_is_told_who_we_are() -> None:
    """Where a server has a user for those without credentials, one with a key is not that user."""
    anybody = {"user": "anybody", "password": SECRET, "permissions": {"publish": {"deny": [">"]}}}
    settings = {"authorization": {"users": [{"nkey": USER.public}, anybody]}, "no_auth_user": "anybody"}
    with running_server(settings) as server:
        async with JetStreamEventStore(server.url, options=ConnectOptions(nkeys_seed_str=USER.seed)) as store:
            assert (await store.append("a", NewEvent("t"))).version == 1
