"""The audit of a cluster's stream: each kind of fault is found, as what it is, and no other."""

from __future__ import annotations

import pytest

from aether import Event
from aether._native import Head, encode_commit, encode_epoch
from aether.cli.cluster_audit import Raw, judge

SHARD = 7


def epoch(position: int, shard: int = SHARD) -> Raw:
    """A takeover."""
    return Raw(position, f"aether.n.{shard}.=epoch", encode_epoch("node", 1))


def commit(position: int, epoch_: int, version: int, command: str) -> Raw:
    """A commit of one event."""
    event = Event("a", "Deposited", version, 1, metadata={"command_id": command})
    body = encode_commit("a", [event], Head(), header_bytes=0, bytes_max=1_000_000, epoch=epoch_)
    return Raw(position, f"aether.n.{SHARD}.a", body)


SOUND = [epoch(1), commit(2, 1, 1, "c1"), epoch(3), epoch(4, 8), commit(5, 3, 2, "c2")]
ACKED = {("a", "c1"): 1, ("a", "c2"): 1}


def test_a_sound_stream_has_no_fault():
    """Commits under their shard's last epoch, each command once, as it was answered; an unheard answer is no fault."""
    found = judge(SOUND, ACKED)
    assert (found.verified, found.messages, found.takeovers, found.commands, found.unanswered) == (True, 5, 3, 2, 0)
    assert judge(SOUND, {("a", "c1"): 1}).unanswered == 1


@pytest.mark.parametrize(
    ("kind", "messages", "acked"),
    [
        ("interleaved", [*SOUND, commit(6, 1, 3, "c3")], ACKED),
        ("interleaved", [commit(1, 1, 1, "c1")], {}),
        ("gaps", [*SOUND, commit(6, 3, 4, "c3")], ACKED),
        ("twice", [*SOUND, commit(6, 3, 3, "c1")], ACKED),
        ("missing", SOUND, {**ACKED, ("a", "c3"): 1}),
        ("altered", SOUND, {**ACKED, ("a", "c2"): 2}),
        ("unreadable", [*SOUND, Raw(6, "aether.n.7.a", SOUND[1].body[:-1] + b"x")], ACKED),
        ("unreadable", [*SOUND, Raw(6, "aether.n.7.a", b"")], ACKED),
    ],
)
def test_each_fault_is_found_as_what_it_is(kind, messages, acked):
    """One planted fault is found, with an example, and no other."""
    found = judge(messages, acked)
    assert found.differences == {**dict.fromkeys(found.differences, 0), kind: 1}
    assert found.examples[0].startswith(kind)
    assert not found.verified
