"""What `aether demo --cluster` looks like: on a terminal, as plain lines, and as one JSON object."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from aether.cli.demo_cluster_run import ACCOUNTS
from aether.cluster.table import SHARDS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aether.cli.cluster_audit import ClusterAudit
    from aether.cli.cluster_state import ClusterState
    from aether.cli.demo_cluster_run import Gap, Load
    from aether.cli.output import Output
    from aether.nats.server import EmbeddedServer

__all__ = ["ClusterDemoView"]

BAR = 40
FAILURES_SHOWN = 3


class ClusterDemoView:
    """Shows each step when it is done.

    Args:
        output: where to.

    Attributes:
        told: the same as one JSON object.
    """

    def __init__(self, output: Output) -> None:
        self._out = output
        self.told: dict[str, Any] = {"verified": False}

    @contextlib.contextmanager
    def waiting(self, text: str) -> Iterator[None]:
        """Show what is being waited for, where that can be taken away again."""
        if not self._out.is_live:
            yield
            return
        with self._out.console.status(f"   {text} ..."):
            yield

    def begin(self, server: EmbeddedServer) -> None:
        """Show what runs."""
        self.told["server"] = {"url": server.url, "sync": server.sync}
        self._out.line("Aether: three processes share the actors, one is killed under load, and a proof", "bold", indent=0)
        self._out.heading("1  Three nodes, three processes, one server")
        self._out.pairs(("server", f"{server.url}, process {server.pid}, synced to disk: {server.sync}"))

    def nodes(self, state: ClusterState, pids: dict[str, int]) -> None:
        """Show who is there."""
        self.told["nodes"] = pids
        self._out.pairs(*((name, f"process {pid}") for name, pid in pids.items()), ("leader", str(state.leader)))
        self._shares(state)

    def _shares(self, state: ClusterState) -> dict[str, int]:
        """Show how the shards lie."""
        shares = {share.name: share.shards for share in state.shares() if share.shards or share.name != "asker"}
        width = max(map(len, shares))
        for name, count in shares.items():
            bar = "#" * round(BAR * count / SHARDS)
            self._out.line(f"{name:<{width}}  {count:>5,} shards  {bar}", "cyan")
        return shares

    def load(self, load: Load) -> None:
        """Show the load before anything happens."""
        self.told["load"] = load._asdict()
        self._out.heading(f"2  Load: {ACCOUNTS} accounts, each asked twice a second from a fourth process")
        self._out.pairs(
            ("answered", f"{load.asks:,} commands in {load.seconds:.1f} s, {load.failed} failed"),
            ("latency", f"p50 {load.p50_ms:.1f} ms, p99 {load.p99_ms:.1f} ms"),
        )

    def kill(
        self, state: ClusterState, who: tuple[str, int], held: int, gap: Gap, *, was_leader: bool, steps: tuple[float, float]
    ) -> None:
        """Show a kill and what came of it."""
        name, pid = who
        expired_s, settled_s = steps
        self._out.heading(f"3  kill -9 {pid}: {name}{', the leader,' if was_leader else ''} is gone, with {held:,} shards")
        self._out.pairs(
            (f"after {expired_s:4.2f} s", "its lease of 3 s has run out, and everybody hears of it"),
            (f"after {settled_s:4.2f} s", f"{state.leader} leads, and all its shards have other owners"),
            style="yellow",
        )
        self.told["kill"] = {
            "node": name,
            "leader": was_leader,
            "shards": held,
            "expired_s": expired_s,
            "settled_s": settled_s,
            **gap._asdict(),
            "now": self._shares(state),
        }
        self._gap(gap)

    def came_back(self, state: ClusterState, who: tuple[str, int], moved: int, gap: Gap, seconds: float) -> None:
        """Show a node's return."""
        name, pid = who
        self._out.heading(f"4  {name} comes back as process {pid}")
        self._out.pairs(("moved", f"{moved:,} shards, no more than must be, all within {seconds:.2f} s of its start"))
        self.told["return"] = {"node": name, "moved": moved, "seconds": seconds, **gap._asdict(), "now": self._shares(state)}
        self._gap(gap)

    def left(self, state: ClusterState, name: str, held: int, gap: Gap, seconds: float) -> None:
        """Show an orderly leave."""
        self._out.heading(f"5  SIGTERM: {name} leaves in an orderly way")
        self._out.pairs(("gave away", f"{held:,} shards, and was gone after {seconds:.2f} s"))
        self.told["leave"] = {"node": name, "shards": held, "seconds": seconds, **gap._asdict(), "now": self._shares(state)}
        self._gap(gap)

    def _gap(self, gap: Gap) -> None:
        self._out.pairs(
            ("waited", f"{gap.accounts} accounts whose shard moved: p50 {_time(gap.p50_s)}, at most {_time(gap.worst_s)}"),
            ("the others", f"p99 {gap.others_p99_ms:.1f} ms meanwhile"),
            ("failed", f"{gap.failed} commands"),
        )

    def proof(self, found: ClusterAudit, failures: list[str]) -> None:
        """Show the comparison of answers and stream."""
        self.told["verified"] = found.verified and not failures
        self.told["failures"] = failures
        self.told["audit"] = {
            "messages": found.messages,
            "takeovers": found.takeovers,
            "commands": found.commands,
            "acked": found.acked,
            "unanswered": found.unanswered,
            **found.differences,
            "examples": found.examples,
        }
        self._out.heading("6  The proof: our record of answers against a raw dump by nats-py and a stock msgpack reader")
        self._out.pairs(
            ("answered", f"{found.acked:,} commands, {len(failures)} failed"),
            (
                "in the stream",
                f"{found.commands:,} commands in {found.messages:,} messages, {found.takeovers:,} takeovers of shards",
            ),
            ("faults", ", ".join(f"{count} {name}" for name, count in found.differences.items())),
        )
        for text in [*found.examples, *failures[:FAILURES_SHOWN]]:
            self._out.line(text, "red")
        if self.told["verified"]:
            self._out.line(
                "Verified: every answered command is there once, as it was answered, and no epochs interleave.", "bold green"
            )
        else:
            self._out.line("FAILED: the stream is not what was answered.", "bold red")
        self._out.heading("Type next")
        self._out.line("aether cluster --help", "bold")
        self._out.line()


def _time(seconds: float) -> str:
    """Return a time to read."""
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1000:.0f} ms"
