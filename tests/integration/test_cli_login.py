"""The command line with a login and TLS of its own, against servers that demand them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from certificates import Authority, server_tls
from command_line import aether
from key_users import Key, Operator

from aether.testing.servers import running_server

if TYPE_CHECKING:
    from pathlib import Path

LINE = json.dumps(
    {
        "id": "59679dbb-4e81-5039-952e-0842fb6bc8bf",
        "actor_id": "a",
        "event_type": "T",
        "timestamp": "2013-01-01T10:17:00Z",
        "data": 1,
    }
)


def written(file: Path, text: str) -> str:
    """A file's name."""
    file.write_text(text)
    return str(file)


def write_and_read(*options: str) -> None:
    """Import one event, read it, and repair what needs none."""
    imported = aether("import", *options, "-", stdin=LINE.encode())
    assert imported.code == 0, imported.err
    shown = aether("show", *options, "a")
    assert shown.code == 0, shown.err
    assert "T" in shown.out
    assert aether("import", *options, "--dry-run", "-", stdin=LINE.encode()).code == 0
    assert aether("repair", *options, "a").code == 0


def test_a_credentials_file_logs_in(tmp_path: Path) -> None:
    """--creds takes the file that nsc makes."""
    operator, user = Operator(), Key()
    file = written(tmp_path / "me.creds", operator.credentials(user))
    with running_server(operator.settings) as server:
        write_and_read("--url", server.url, "--creds", file)


def test_an_nkey_and_a_client_certificate_log_in(tmp_path: Path) -> None:
    """--nkey, --tls-ca, --tls-cert and --tls-key satisfy a server that wants all; where one is missing, that is named."""
    authority, user = Authority(tmp_path), Key()
    tls = server_tls(authority.issue("server"), verify=True, ca_file=str(authority.file))
    certificate, key = (str(file) for file in authority.issue("client"))
    nkey, ca = ("--nkey", written(tmp_path / "me.nk", user.seed)), ("--tls-ca", str(authority.file))
    pair = ("--tls-cert", certificate, "--tls-key", key)
    with running_server({**tls, "authorization": {"users": [{"nkey": user.public}]}}) as server:
        url = ("--url", f"nats://127.0.0.1:{server.port}")
        write_and_read(*url, *nkey, *ca, *pair)
        for options, says in (
            ((*ca, *pair), "credentials"),
            ((*nkey, *ca), "--tls-cert FILE"),
            ((*nkey, *pair), "--tls-ca FILE"),
        ):
            refused = aether("show", *url, *options, "a")
            assert refused.code == 1
            assert says in refused.err
            assert user.seed not in refused.err


def test_options_come_from_the_environment_too(tmp_path: Path) -> None:
    """AETHER_NKEY does what --nkey does."""
    user = Key()
    file = written(tmp_path / "me.nk", user.seed)
    program = f"import os, sys; os.environ['AETHER_NKEY'] = {file!r}; from aether.__main__ import main; sys.exit(main())"
    with running_server({"authorization": {"users": [{"nkey": user.public}]}}) as server:
        found = aether("import", "--url", server.url, "-", stdin=LINE.encode(), program=program)
        assert found.code == 0, found.err


def test_what_cannot_be_meant_is_a_wrong_command_line(tmp_path: Path) -> None:
    """Contradictions and files that do not hold what they should make the exit code 2, before anything is connected."""
    authority, user = Authority(tmp_path), Key()
    certificate, key = (str(file) for file in authority.issue("client"))
    nkey, text = written(tmp_path / "me.nk", user.seed), written(tmp_path / "text", "not a key")
    encrypted = str(authority.issue("encrypted", password=b"word")[1])
    for options, says in (
        (("--creds", text, "--nkey", nkey), "--creds and --nkey"),
        (("--tls-key", key), "--tls-cert"),
        (("--creds", text), "holds no user JWT"),
        (("--nkey", text), "holds no nkey seed"),
        (("--nkey", str(tmp_path / "missing")), "does not exist"),
        (("--tls-ca", text), "--tls-ca"),
        (("--tls-cert", text), "--tls-cert"),
        (("--tls-cert", certificate, "--tls-key", nkey), "--tls-cert"),
        (("--tls-cert", encrypted.replace("-key", ""), "--tls-key", encrypted), "encrypted; openssl"),
        (("--nkey", nkey, "--url", "nats://me:word@127.0.0.1:1"), "in one place"),
        (("--nkey", nkey, "--url", f"embedded:{tmp_path}/data"), "embedded"),
        (("--tls-ca", str(authority.file), "--url", "ws://127.0.0.1:1"), "wss://"),
    ):
        refused = aether("show", *options, "a")
        assert (refused.code, says in refused.err) == (2, True), (options, refused)
        assert "word" not in refused.err
        assert user.seed not in refused.err
