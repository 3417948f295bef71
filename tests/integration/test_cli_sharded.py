"""The way between plain stores and cluster nodes: an export, imported into a namespace of the other kind."""

from __future__ import annotations

from typing import TYPE_CHECKING

from command_line import aether
from faults.dump import dump
from owning import fenced_store, own_actor
from test_cli_export import fill, stored

from aether import NewEvent

if TYPE_CHECKING:
    from pathlib import Path

    from aether import EmbeddedServer


async def test_an_export_imported_sharded_has_equal_events_and_nodes_go_on_from_there(
    nats_server: EmbeddedServer, namespace: str, tmp_path: Path
) -> None:
    """Every event is there as it was, a second import changes nothing, and the first owner of a shard appends behind them."""
    events = await fill(nats_server.url, namespace)
    file, target = str(tmp_path / "x.ndjson"), f"{namespace}-2"
    assert aether("export", file, "--url", nats_server.url, "--namespace", namespace).code == 0
    for saved, known in ((len(events), 0), (0, len(events))):
        done = aether("import", "--sharded", file, "--url", nats_server.url, "--namespace", target, "--json")
        assert done.code == 0, done.err
        assert (done.told["saved"], done.told["already_there"]) == (saved, known)
    assert await stored(nats_server.url, target) == events
    async with fenced_store(nats_server.url, target) as owner:
        await own_actor(owner, "new")
        assert (await owner.append("new", NewEvent("t"))).version == 1
    commits = [message for message in await dump(nats_server.url, target) if not message.is_epoch]
    assert all(message.commit["epoch"] for message in commits)
    back = str(tmp_path / "back.ndjson")
    assert aether("export", back, "--url", nats_server.url, "--namespace", target).code == 0
    assert aether("import", back, "--url", nats_server.url, "--namespace", f"{namespace}-3").code == 0
    assert len(await stored(nats_server.url, f"{namespace}-3")) == len(events) + 1


async def test_an_import_of_the_other_kind_is_refused_and_says_how_to_go_over(
    nats_server: EmbeddedServer, namespace: str, tmp_path: Path
) -> None:
    """A plain import does not write to a cluster's namespace, nor a sharded one to a plain store's, and nothing is written."""
    await fill(nats_server.url, namespace)
    file, sharded = str(tmp_path / "x.ndjson"), f"{namespace}-2"
    assert aether("export", file, "--url", nats_server.url, "--namespace", namespace).code == 0
    assert aether("import", "--sharded", file, "--url", nats_server.url, "--namespace", sharded).code == 0
    for flags, target, mode in (([], sharded, "shard"), (["--sharded"], namespace, "actor")):
        before = await dump(nats_server.url, target)
        done = aether("import", *flags, file, "--url", nats_server.url, "--namespace", target)
        assert done.code == 1
        assert f"guard mode is '{mode}'" in done.err
        assert "aether import --sharded" in done.err
        assert await dump(nats_server.url, target) == before
