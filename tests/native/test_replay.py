"""`Replay` and `EventFilter`: what is asked, taken and given out; the core's own tests have the rest."""

from __future__ import annotations

import json

import pytest

from aether import CorruptEventError, DecodeError, Event, InvalidIdError
from aether._native import EventFilter, FrameReader, Head, Replay, actor_subject, encode_commit

ALL = EventFilter()


def message(actor_id: str, version: int) -> tuple[str, bytes]:
    """The subject and body of a commit of one event."""
    event = Event(actor_id, "Happened", version, version)
    return actor_subject("shop", actor_id), encode_commit(actor_id, [event], Head(), header_bytes=0, bytes_max=10_000)


def frame(inbox: str, token: int, position: int, subject: str, body: bytes) -> bytes:
    """A stored message as a server sends it to an inbox."""
    headers = f"NATS/1.0\r\nNats-Stream: S\r\nNats-Subject: {subject}\r\nNats-Sequence: {position}\r\n\r\n".encode()
    return b"HMSG %s%d 7 %d %d\r\n%s%s\r\n" % (inbox.encode(), token, len(headers), len(headers) + len(body), headers, body)


def test_answers_reach_it_natively_and_one_by_one_alike():
    """What a frame reader leads to it is what `accept` takes: the same batches."""
    replays = [Replay("shop", 2, 5, ALL), Replay("shop", 2, 5, ALL)]
    reader = FrameReader("mine.")
    reader.attach(7, "box.", replays[0])
    for replay in replays:
        [(token, payload, _)] = replay.requests()
        assert json.loads(payload) == {"seq": 3, "batch": 3, "max_bytes": 1_048_576}
        assert replay.is_waiting()
        assert replay.take(10) is None
    for position in (3, 4, 5):
        subject, body = message(f"a.{position}", position)
        assert reader.feed(frame("box.", token, position, subject, body)) == ([], [], [7])
        replays[1].accept(token, 0, position, subject, body)
    for replay in replays:
        assert replay.received == 3
        assert not replay.is_waiting()
        events, position = replay.take(2)
        assert [(event.actor_id, event.data) for event in events] == [("a.3", 3), ("a.4", 4)]
        assert position == 4
        assert not replay.is_done()
        assert replay.take(2)[1] == 5
        assert replay.is_done()
        assert replay.take(2) is None


def test_damage_has_position_actor_and_error():
    """A message that is no commit stops it behind the events before it, until it is stepped over."""
    replay = Replay("shop", 0, 3, ALL)
    [(token, _, _)] = replay.requests()
    replay.accept(token, 0, 1, *message("a.b", 1))
    replay.accept(token, 0, 2, actor_subject("shop", "a.b"), b"hello")
    assert replay.fault() is None, "what is before it comes first"
    assert [event.version for event in replay.take(9)[0]] == [1]
    position, actor_id, error = replay.fault()
    assert (position, actor_id) == (2, "a.b")
    assert isinstance(error, DecodeError)
    assert "aether repair 'a.b'" in str(CorruptEventError("S", position, actor_id, str(error)))
    replay.step_over()
    assert replay.fault() is None
    [(token, payload, _)] = replay.requests()
    assert json.loads(payload)["seq"] == 3


def test_what_does_not_come_is_told():
    """A position that is asked for and does not come is told, and taken from elsewhere; what is lost is asked for again."""
    replay = Replay("shop", 0, 2, ALL)
    [(token, _, _)] = replay.requests()
    replay.lose()
    assert not replay.is_waiting()
    assert replay.stuck() is None
    [(token, _, _)] = replay.requests()
    replay.accept(token, 404, 0, "", b"")
    assert replay.stuck() == 1
    assert replay.requests() == []
    assert replay.put(1, *message("a", 1))
    assert not replay.put(1, *message("a", 1))
    [(token, payload, _)] = replay.requests()
    assert json.loads(payload)["seq"] == 2


@pytest.mark.parametrize(
    ("given", "subject"),
    [
        ({}, None),
        ({"actor_prefix": "a"}, None),
        ({"shards": [1, 2]}, None),
        ({"shards": [5]}, "aether.shop.5.*"),
        ({"actor_id": "a.b"}, "aether.shop.933.a=2Eb"),
    ],
)
def test_one_actor_or_shard_the_server_looks_for(given, subject):
    """What one subject names is asked of the server by that subject."""
    replay = Replay("shop", 0, 9, EventFilter(**given))
    assert replay.subject == subject
    [(_, payload, _)] = replay.requests()
    assert json.loads(payload).get("next_by_subj") == subject


@pytest.mark.parametrize(
    ("given", "error", "text"),
    [
        ({"actor_id": ""}, InvalidIdError, "actor_id"),
        ({"actor_prefix": "\ud800"}, InvalidIdError, "actor_prefix"),
        ({"shards": [1021]}, ValueError, "0 to 1020, not 1021"),
        ({"shards": [False]}, TypeError, "not bools"),
        ({"shards": 5}, TypeError, "not iterable"),
        ({"event_types": "Paid"}, TypeError, r"event_types=\['Paid'\]"),
        ({"event_types": [None]}, TypeError, "strings"),
    ],
)
def test_filters_that_mean_nothing_are_refused(given, error, text):
    """A filter says what is wrong with it."""
    with pytest.raises(error, match=text):
        EventFilter(**given)
