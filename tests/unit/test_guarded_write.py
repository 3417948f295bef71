"""`GuardedWrite`: every course by hand, then whatever a network can do, by a model."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from guarded_write_bugs import PLANTED
from guarded_write_model import ACTOR, SUBJECT, GuardedWriteModel
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from aether import DecodeError, Event, NewEvent
from aether._native import Commit, Head, encode_commit, position_of
from aether.nats.messages import Message
from aether.store.guarded_write import AppendRequest, GuardedWrite, SaveRequest, Step

if TYPE_CHECKING:
    from conftest import Size

    from aether.store.guarded_write import WriteRequest


def event(version: int, event_id: str = "e") -> Event:
    """An event of the actor."""
    return Event(ACTOR, "t", version, {"v": version}, id=event_id)


def stored(head: Head, position: int, *events: Event, actor: str = ACTOR) -> Message:
    """The message that these events make on top of `head`."""
    return Message(position, SUBJECT, encode_commit(actor, list(events), head, header_bytes=0, bytes_max=10**6))


def append(expected: int | None = None) -> AppendRequest:
    """Append one event."""
    return AppendRequest(ACTOR, NewEvent("t", id="mine"), expected)


def save(version: int) -> SaveRequest:
    """Save one event."""
    return SaveRequest([event(version, "mine")])


def sent(request: WriteRequest, head: Head | None, since: int = 45) -> GuardedWrite:
    """A write whose bytes are on their way, into a stream that was known to reach `since`."""
    write = GuardedWrite(request, head)
    assert write.step is Step.SEND
    assert write.head is not None
    write.body = encode_commit(ACTOR, write.events, write.head, header_bytes=0, bytes_max=10**6)
    write.since = since
    return write


HEAD_3 = Head().after(3, 30)
THEIRS_4 = stored(HEAD_3, 40, event(4, "theirs"))


def head_of(message: Message) -> Head:
    """The head that a message makes."""
    return Commit.decode(message.body).head(message.position)


@pytest.mark.parametrize(
    ("request_", "known", "step", "versions"),
    [
        (save(1), None, Step.SEND, [1]),
        (save(2), None, Step.READ_HEAD, []),
        (append(), None, Step.SEND, [1]),
        (append(0), None, Step.SEND, [1]),
        (append(3), None, Step.READ_HEAD, []),
        (append(), HEAD_3, Step.SEND, [4]),
        (append(3), HEAD_3, Step.SEND, [4]),
        (append(2), HEAD_3, Step.READ_HEAD, []),
        (save(9), HEAD_3, Step.SEND, [9]),
        (save(3), HEAD_3, Step.READ_HEAD, []),
    ],
)
def test_a_write_is_sent_at_once_where_what_is_known_allows_it(
    request_: WriteRequest, known: Head | None, step: Step, versions: list[int]
) -> None:
    """A write goes out on what is known or worth guessing, and asks for the head only where it would not fit."""
    write = GuardedWrite(request_, known)
    assert (write.step, [event.version for event in write.events]) == (step, versions)


def test_an_ack_ends_it_and_makes_the_next_head() -> None:
    """An ack is success, and the head that it leaves is the one that the stored commit makes."""
    write = sent(append(), HEAD_3)
    write.on_ack(40)
    assert (write.step, write.version, write.position) == (Step.DONE, 4, 40)
    assert write.head == HEAD_3.after(4, 40)


def test_a_wrong_guess_costs_one_refusal_and_no_wait() -> None:
    """A new actor that is none: refused, the head is read, the events go out on top of it at once."""
    write = sent(append(), None)
    write.on_refused()
    assert write.step is Step.READ_HEAD
    write.on_head(THEIRS_4)
    assert (write.step, write.events[0].version, write.repeats) == (Step.SEND, 5, 0)
    assert write.body == b"", "it is encoded anew, for another head"


def test_who_is_refused_again_waits() -> None:
    """A second refusal means a crowd: the writer is told to step aside before it goes on."""
    write = sent(append(), None)
    for _ in range(2):
        write.on_refused()
        write.on_head(THEIRS_4)
    assert write.repeats > 0


def test_a_refusal_with_the_head_in_place_is_another_write_in_flight() -> None:
    """Error 10164 while another write is in flight is no conflict: the same bytes are sent again, after a wait."""
    write = sent(append(3), HEAD_3)
    body = write.body
    write.on_refused()
    write.on_head(Message(30, SUBJECT, b"whatever lies there"))
    assert (write.step, write.body, write.in_doubt, write.repeats) == (Step.SEND, body, True, 1)


@pytest.mark.parametrize("request_", [append(3), save(4)])
def test_a_head_that_moved_past_the_request_is_a_conflict_with_the_real_version(request_: WriteRequest) -> None:
    """What does not fit the new head is refused with the version really there."""
    write = sent(request_, HEAD_3)
    write.on_refused()
    write.on_head(THEIRS_4)
    if write.step is Step.FIND_STORED:
        write.on_stored(None)
    assert (write.step, write.actual) == (Step.CONFLICT, 4)


def test_an_event_that_is_stored_already_is_found() -> None:
    """Saving an equal event again is success at its old position."""
    write = GuardedWrite(save(4), HEAD_3.after(4, 40))
    write.on_head(stored(HEAD_3, 40, event(4, "mine")))
    assert write.step is Step.FIND_STORED
    write.on_stored(40)
    assert (write.step, write.position) == (Step.DONE, 40)


def test_a_refusal_may_answer_a_copy_of_our_own() -> None:
    """Refused while the head may be newer than our copy: found behind the guard, it is success; not found, it is judged again."""
    for theirs in (False, True):
        write = sent(append(3), HEAD_3, since=30)
        ours = Message(40, SUBJECT, write.body)
        write.on_refused()
        write.on_head(stored(head_of(ours), 50, event(5, "theirs")))
        assert (write.step, write.in_doubt) == (Step.LOOK_BEHIND, True)
        write.on_behind(THEIRS_4 if theirs else ours)
        assert write.step is (Step.CONFLICT if theirs else Step.DONE)
        assert write.in_doubt is False


def test_a_refusal_with_our_own_commit_as_head_is_success() -> None:
    """A refusal that a doubled request brought, with the ack lost, is no conflict."""
    write = sent(append(3), HEAD_3, since=30)
    write.on_refused()
    write.on_head(Message(40, SUBJECT, write.body))
    assert (write.step, write.position) == (Step.DONE, 40)


def test_nobody_listening_changes_nothing() -> None:
    """A write that nobody heard is sent again, and is not in doubt."""
    write = sent(append(), HEAD_3)
    write.on_unheard()
    assert (write.step, write.in_doubt, write.repeats) == (Step.SEND, False, 1)


def test_silence_with_the_head_in_place_sends_the_same_bytes() -> None:
    """A lost request or ack leaves the write open: the same bytes under the same guard, and in doubt until it is told."""
    write = sent(append(), HEAD_3)
    body = write.body
    write.on_unanswered()
    assert (write.step, write.in_doubt) == (Step.READ_HEAD, True)
    write.on_head(Message(30, SUBJECT, b"whatever lies there"))
    assert (write.step, write.body, write.in_doubt) == (Step.SEND, body, True)
    write.on_unheard()
    assert (write.step, write.in_doubt) == (Step.READ_HEAD, True), "who listens now does not tell what became of the first"


def test_silence_with_our_own_commit_as_head_is_success() -> None:
    """A lost ack is found by the head alone when nobody wrote after us."""
    write = sent(append(), HEAD_3)
    write.on_unanswered()
    write.on_head(Message(40, SUBJECT, write.body))
    assert (write.step, write.version, write.position, write.in_doubt) == (Step.DONE, 4, 40, False)


@pytest.mark.parametrize("refused_too", [False, True])
def test_silence_and_our_commit_under_others_is_success(refused_too: bool) -> None:
    """A lost ack is found behind the guard, though others wrote on top, though our second copy was refused."""
    write = sent(append(3), HEAD_3)
    ours = Message(40, SUBJECT, write.body)
    write.on_unanswered()
    if refused_too:
        write.on_head(Message(30, SUBJECT, b""))
        write.on_refused()
        assert (write.step, write.in_doubt) == (Step.READ_HEAD, True), "the refusal may come from our own first copy"
    write.on_head(stored(head_of(ours), 50, event(5, "theirs")))
    assert write.step is Step.LOOK_BEHIND
    write.on_behind(ours)
    assert (write.step, write.version, write.position) == (Step.DONE, 4, 40)
    assert write.head == HEAD_3.after(4, 40)


def test_silence_and_another_commit_behind_the_guard_is_judged_again() -> None:
    """Theirs in our place means that ours can never be stored: an append goes on top, one that expects a version conflicts."""
    for request_, step in ((append(), Step.SEND), (append(3), Step.CONFLICT)):
        write = sent(request_, HEAD_3)
        write.on_unanswered()
        write.on_head(THEIRS_4)
        write.on_behind(THEIRS_4)
        assert (write.step, write.in_doubt) == (step, False)


def test_a_leader_that_lags_is_asked_again() -> None:
    """A head in front of a known one is no news, and a move that the next answer does not show is looked for again."""
    write = GuardedWrite(append(9), HEAD_3)
    write.on_head(Message(20, SUBJECT, b"an older head"))
    assert (write.step, write.repeats) == (Step.READ_HEAD, 1)
    write = sent(append(), HEAD_3)
    write.on_unanswered()
    write.on_head(THEIRS_4)
    write.on_behind(None)
    assert (write.step, write.in_doubt, write.repeats) == (Step.READ_HEAD, True, 1)


@pytest.mark.parametrize("body", [b"", b"\x80", stored(HEAD_3, 40, Event("b", "t", 4), actor="b").body])
def test_a_head_that_is_no_commit_of_the_actor_stops_the_write(body: bytes) -> None:
    """Nothing is written on top of what cannot be read."""
    write = sent(append(), HEAD_3)
    write.on_refused()
    with pytest.raises(DecodeError):
        write.on_head(Message(40, SUBJECT, body))


def test_requests_are_checked_before_anything_is_sent() -> None:
    """An empty commit, two actors and falling versions are misuse."""
    for events in ([], [event(1), Event("b", "t", 2)], [event(2), event(1)]):
        with pytest.raises(ValueError, match=r"commit|versions"):
            SaveRequest(events)
    with pytest.raises(ValueError, match="at least one event"):
        AppendRequest(ACTOR, [], None)


# The model, and the bugs that it is for.


def explore(write_class: type[GuardedWrite], examples: int, *, steps: int = 25) -> None:
    """Run the model with this class of writes."""
    model = type("Model", (GuardedWriteModel,), {"write_class": write_class})
    run_state_machine_as_test(
        model,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            derandomize=True,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_no_course_of_events_breaks_a_promise(size: Size) -> None:
    """Whatever is lost, late or doubled: no double effect, success only if stored once, conflict and doubt only if true."""
    explore(GuardedWrite, size.pick(150, 1000, 20_000))


@pytest.mark.parametrize(
    "write_class",
    PLANTED,
)
def test_the_model_sees_planted_bugs(write_class: type[GuardedWrite]) -> None:
    """A write that gets one rule wrong is caught, so the model can tell."""
    with pytest.raises((AssertionError, ExceptionGroup)):
        explore(write_class, 1000)


def test_position_of_wants_equal_events() -> None:
    """An event at the same version with another content is not the one that is stored."""
    placed = [(40, Commit.decode(THEIRS_4.body))]
    assert position_of(placed, Commit.decode(THEIRS_4.body).events()) == 40
    assert position_of(placed, [event(4, "theirs-not")]) is None
