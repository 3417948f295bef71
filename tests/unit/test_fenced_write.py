"""`ShardFence`, `Delivery` and `FencedWrite`: what matters by hand, then whatever owners and a network can do, by a model."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from fenced_write_bugs import PLANTED
from fenced_write_model import RECORDS, SHARD, FencedWriteModel, subject_of

from aether import DecodeError, Event, NewEvent
from aether._native import Commit, Head, encode_commit, encode_epoch
from aether.nats.messages import Message
from aether.store.fence import Delivery, Passage, ShardFence
from aether.store.fenced_write import FencedStep, FencedWrite
from aether.store.guarded_write import AppendRequest, SaveRequest

if TYPE_CHECKING:
    from conftest import Size

EPOCH = 100
HEAD_3 = Head().after(3, 30)


def fence(*, last: int = EPOCH, valid: bool = True) -> ShardFence:
    """A fence that is open, up to `last`."""
    made = ShardFence(SHARD, EPOCH, RECORDS, lambda: valid)
    made.is_open, made.last = True, last
    return made


def record(position: int, node: str = "other") -> Message:
    """An epoch record."""
    return Message(position, RECORDS, encode_epoch(node, 5))


def commit(position: int, actor: str, version: int, epoch: int | None = EPOCH, head: Head | None = None) -> Message:
    """A commit of one event."""
    event = Event(actor, "t", version, 1, id=f"{actor}-{version}")
    body = encode_commit(actor, [event], head or Head(), header_bytes=0, bytes_max=10**6, epoch=epoch)
    return Message(position, subject_of(actor), body)


def append(expected: int | None = None) -> AppendRequest:
    """Append one event to the actor a."""
    return AppendRequest("a", NewEvent("t", id="mine"), expected)


def sent(write: FencedWrite) -> Delivery:
    """The write's commit, on its way."""
    assert write.step is FencedStep.DELIVER
    assert write.head is not None
    body = encode_commit("a", write.events, write.head, header_bytes=0, bytes_max=10**6, epoch=EPOCH)
    return write.deliver(subject_of("a"), body)


def test_a_new_actor_is_never_guessed() -> None:
    """The guard would not refuse a wrong guess, so even a first event waits for the proof that it is the first."""
    for request in (append(), append(0), SaveRequest([Event("a", "t", 1)])):
        assert FencedWrite(request, fence(), None).step is FencedStep.READ_HEAD


@pytest.mark.parametrize(
    ("newest", "reached", "step"),
    [
        (record(EPOCH), 119, FencedStep.READ_HEAD),
        (record(90), 500, FencedStep.READ_HEAD),
        (None, 500, FencedStep.READ_HEAD),
        (record(EPOCH), 120, FencedStep.DELIVER),
        (record(121), 500, FencedStep.DEPOSED),
        (record(121), 10, FencedStep.DEPOSED),
    ],
)
def test_only_an_answer_that_reaches_the_last_position_is_proof(newest: Message | None, reached: int, step: FencedStep) -> None:
    """A replica that lags is asked again, whoever it is; one that knows of a newer epoch deposes, however far it got."""
    write = FencedWrite(append(), fence(last=120), None)
    write.on_read(commit(40, "a", 4), newest, reached)
    assert write.step is step
    assert write.repeats == (step is not FencedStep.DELIVER)
    if step is FencedStep.DEPOSED:
        assert (write.fence.closed, write.fence.owner) == (True, "other")


def test_an_ack_moves_the_fence() -> None:
    """What was acked is the shard's last position, and the guard of the next write."""
    write = FencedWrite(append(), fence(), HEAD_3)
    delivery = sent(write)
    assert delivery.guard == EPOCH
    delivery.on_ack(107)
    write.on_delivered()
    assert (write.step, write.version, write.position, write.fence.last) == (FencedStep.DONE, 4, 107, 107)
    assert write.head == HEAD_3.after(4, 107)
    assert not write.found


def test_a_refusal_by_an_earlier_copy_in_doubt_is_followed() -> None:
    """An earlier commit of this epoch whose ack was lost moves the fence, is remembered, and the write goes on behind it."""
    write = FencedWrite(append(), fence(), HEAD_3)
    delivery = sent(write)
    delivery.on_refused()
    assert (delivery.step, delivery.in_doubt) == (Passage.LOOK_BEHIND, True)
    other = commit(107, "b", 9)
    delivery.on_behind(other)
    write.on_delivered()
    assert (write.step, write.fence.last, write.in_doubt) == (FencedStep.DELIVER, 107, False)
    assert write.adopted == ("b", Commit.decode(other.body).head(107))
    assert write.events[0].version == 4
    assert sent(write).guard == 107


def test_an_earlier_commit_of_the_same_actor_gives_the_next_version() -> None:
    """The head of the write is that of the commit that was found."""
    write = FencedWrite(append(), fence(), HEAD_3)
    delivery = sent(write)
    delivery.on_refused()
    delivery.on_behind(commit(107, "a", 4, head=HEAD_3))
    write.on_delivered()
    assert [event.version for event in write.events] == [5]


def test_another_epoch_behind_the_guard_ends_everything() -> None:
    """The record of another owner behind the guard proves that nothing of the write is stored, and closes the fence for ever."""
    write = FencedWrite(append(), fence(), HEAD_3)
    delivery = sent(write)
    delivery.on_unanswered()
    delivery.on_behind(record(107, "n2"))
    write.on_delivered()
    assert (write.step, write.in_doubt, write.fence.closed, write.fence.owner) == (FencedStep.DEPOSED, False, True, "n2")
    assert not write.fence.may_write()
    assert FencedWrite(append(), write.fence, HEAD_3).step is FencedStep.DEPOSED


@pytest.mark.parametrize(
    "body",
    [b"", b"foreign", commit(1, "b", 1, None).body, commit(1, "b", 1, 50).body],
    ids=["nothing", "words", "a commit without an epoch", "a commit of an earlier epoch"],
)
def test_a_foreign_message_is_passed_and_nothing_remembered_is_used(body: bytes) -> None:
    """What no owner wrote moves the fence, and every head of the shard is read anew."""
    write = FencedWrite(append(), fence(), HEAD_3)
    key = write.fence.key
    delivery = sent(write)
    delivery.on_refused()
    delivery.on_behind(Message(107, subject_of("b"), body))
    write.on_delivered()
    assert (write.step, write.fence.last, write.fence.closed) == (FencedStep.READ_HEAD, 107, False)
    assert write.fence.key != key


def test_silence_with_nothing_behind_the_guard_is_sent_again() -> None:
    """The same bytes go out under the same guard, after a wait, until the log tells."""
    delivery = sent(FencedWrite(append(), fence(), HEAD_3))
    delivery.on_unanswered()
    delivery.on_behind(None)
    assert (delivery.step, delivery.repeats, delivery.in_doubt) == (Passage.SEND, 1, True)
    delivery.on_unheard()
    assert delivery.step is Passage.LOOK_BEHIND


def test_who_may_not_send_any_more_looks_until_the_log_tells() -> None:
    """A copy in doubt is looked for and not sent again, once the lease is over."""
    delivery = sent(FencedWrite(append(), fence(), HEAD_3))
    delivery.on_unanswered()
    delivery.on_behind(None)
    delivery.hold()
    assert (delivery.step, delivery.repeats) == (Passage.LOOK_BEHIND, 2)


def test_equal_bytes_on_another_subject_are_not_ours() -> None:
    """A copy of our bytes that somebody put elsewhere in the shard is foreign."""
    delivery = sent(FencedWrite(append(), fence(), HEAD_3))
    delivery.on_refused()
    delivery.on_behind(Message(107, subject_of("b"), delivery.body))
    assert delivery.step is Passage.BEATEN


def test_a_lease_that_is_over_lets_nothing_begin() -> None:
    """An open fence takes writes only while the lease is valid, and a fence that was not opened never does."""
    assert fence().may_write()
    assert not fence(valid=False).may_write()
    closed = fence()
    closed.is_open = False
    assert (closed.may_write(), closed.may_send()) == (False, True)


def test_a_head_that_is_no_commit_stops_the_write() -> None:
    """Nothing is written on top of what cannot be read."""
    write = FencedWrite(append(), fence(), None)
    with pytest.raises(DecodeError):
        write.on_read(Message(40, subject_of("a"), b"\x80"), record(EPOCH), 120)
    with pytest.raises(DecodeError):
        write.on_read(Message(40, subject_of("a"), commit(40, "b", 1).body), record(EPOCH), 120)


# The model, and the bugs that it is for.


def explore(model: type[FencedWriteModel], runs: int) -> None:
    """Run the model under so many seeds; one that fails is named."""
    for seed in range(runs):
        try:
            model(seed).run()
        except Exception as error:
            error.add_note(f"seed {seed}")
            raise


def test_no_course_of_events_breaks_a_promise(size: Size) -> None:
    """Whatever owners, zombies and the network do: epochs never interleave, and every call's end is true."""
    explore(FencedWriteModel, size.pick(1_000, 10_000, 200_000))


@pytest.mark.parametrize("bug", PLANTED)
def test_the_model_sees_planted_bugs(bug: str) -> None:
    """A fence that gets one rule wrong is caught, so the model can tell."""
    with pytest.raises((AssertionError, DecodeError, ValueError)):
        explore(PLANTED[bug], 5_000)
