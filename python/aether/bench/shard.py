"""Actor ids made tokens, shards and subjects, and shards given owners: what every append and every owner needs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aether._native import actor_subject, shard_of
from aether.bench.measure import CPU, Side, compare
from aether.bench.owners import owner_lines
from aether.bench.setting import check
from aether.cluster.table import SHARDS

if TYPE_CHECKING:
    from collections.abc import Callable

    from aether.bench.lines import Line
    from aether.bench.setting import Setting

__all__ = ["lines", "plain_shard", "plain_subject"]

FNV_OFFSET, FNV_PRIME, MASK = 2_166_136_261, 16_777_619, 0xFFFF_FFFF
KEPT = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-")
IDS = [text for number in range(500) for text in (f"device-{number}", f"order/{number * 7919}@eu", f"Flug Zürich {number}")]


def plain_token(actor_id: str) -> bytes:
    """Return the token of an id, byte by byte."""
    return b"".join(b"%c" % byte if byte in KEPT else b"=%02X" % byte for byte in actor_id.encode())


def plain_shard(actor_id: str) -> int:
    """Return the shard of an actor, as the server's `partition()` computes it."""
    value = FNV_OFFSET
    for byte in plain_token(actor_id):
        value = (value ^ byte) * FNV_PRIME & MASK
    return value % SHARDS


def plain_subject(actor_id: str) -> str:
    """Return the subject of an actor's commits in the namespace shop."""
    return f"aether.shop.{plain_shard(actor_id)}.{plain_token(actor_id).decode()}"


def subject(actor_id: str) -> str:
    """Return the same by the extension."""
    return actor_subject("shop", actor_id)


async def lines(setting: Setting) -> list[Line]:
    """Find shards, subjects and owners of ids with and without bytes that a token escapes; assign shards."""
    repetitions = setting.repetitions(15, 41, 101)
    setting.say(f"shard: {len(IDS):,} ids, {repetitions + 1} times on each side")
    found = []
    pairs: list[tuple[str, Callable[[str], object], Callable[[str], object]]] = [
        ("shard of an id", shard_of, plain_shard),
        ("subject of an id", subject, plain_subject),
    ]
    for scenario, ours, plain in pairs:
        check(holds=[ours(each) for each in IDS] == [plain(each) for each in IDS], what=f"{scenario}: the sides differ")
        sides = _side("aether", ours), [_side("plain Python", plain)]
        found += await compare(scenario, *sides, repetitions=repetitions, clock=CPU)
    return found + await owner_lines(repetitions, IDS, plain_shard)


def _side(name: str, function: Callable[[str], object]) -> Side:
    def run(_: None) -> None:
        for each in IDS:
            function(each)

    return Side(name, run, len(IDS))
