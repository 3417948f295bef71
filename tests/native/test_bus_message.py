"""The messages of a bus: frames, subjects, bodies and replies, beside msgpack and the reader's own view; and `Tally`."""

from __future__ import annotations

import random
import zlib

import msgpack
import pytest

from aether import CommitTooLargeError, DecodeError, Event, codec
from aether._native import (
    Commit,
    EventFilter,
    Exchange,
    FrameReader,
    Mailbox,
    Tally,
    bus_body,
    bus_subject,
    decode_reply,
    encode_error,
    encode_reply,
    publish_events,
    publish_frame,
    token_decode,
    token_encode,
)
from aether.testing.contract_ids import HOSTILE_IDS

MIB = 2**20


def a_mailbox() -> tuple[Exchange, Mailbox]:
    """An exchange of `shop` with one mailbox that takes everything."""
    exchange, mailbox = Exchange("shop"), Mailbox(EventFilter(), 100_000, 64 * MIB, "error")
    exchange.attach(mailbox)
    return exchange, mailbox


def test_the_body_is_a_commit_of_one_event():
    """The body is a commit of exactly this event without a spine, readable by any msgpack reader, its checksum zlib's."""
    event = Event("order-1", "Placed", 3, {"total": 5}, metadata={"k": "v"})
    body = bus_body(event)
    fields = msgpack.unpackb(body)
    assert list(fields) == ["format", "actor", "events", "crc"]
    assert (fields["format"], fields["actor"], len(fields["events"])) == (1, "order-1", 1)
    assert fields["crc"] == zlib.crc32(body[: body.rindex(b"\xa3crc")])
    commit = Commit.decode(body)
    assert (commit.events(), commit.spine) == ([event], None)


@pytest.mark.parametrize("name", HOSTILE_IDS)
def test_subjects_hold_hostile_names(name):
    """A subject has four words whatever the names, and the last two are the tokens of actor and type."""
    subject = bus_subject("shop-eu", Event(name, name, 1))
    words = subject.split(".")
    assert words == ["aether-bus", "shop-eu", token_encode(name), token_encode(name)]
    assert token_decode(words[2]) == name
    assert not set(subject) & set("*> \r\n\t\0$")
    assert len(subject) < 1_700


def test_frames_are_those_of_the_single_messages():
    """A batch of frames is the frames of its events one after the other, made in as many calls as the bound asks for."""
    published = [Event(f"order-{n % 7}", "Placed", n, "x" * (n % 300)) for n in range(1, 500)]
    expected = b"".join(publish_frame(bus_subject("shop", event), "", [], bus_body(event)) for event in published)
    for bytes_max in (1, 1_000, 10_000, MIB):
        made, at = b"", 0
        while at < len(published):
            frames, reached = publish_events("shop", published, at, MIB, bytes_max)
            assert reached > at
            assert len(frames) <= max(bytes_max, 1_000)
            made, at = made + frames, reached
        assert made == expected
    assert publish_events("shop", published, 499, MIB, MIB) == (b"", 499)
    assert publish_events("shop", [], 0, MIB, MIB) == (b"", 0)


def test_an_event_too_large_is_refused_when_its_turn_comes():
    """One that no message holds ends the frames before it, and is an error when it is the first."""
    published = [Event("a", "T", 1), Event("a", "T", 2, "x" * 2_000), Event("a", "T", 3)]
    frames, at = publish_events("shop", published, 0, 1_000, MIB)
    assert (at, frames) == (1, publish_frame(bus_subject("shop", published[0]), "", [], bus_body(published[0])))
    with pytest.raises(CommitTooLargeError) as caught:
        publish_events("shop", published, 1, 1_000, MIB)
    size = len(bus_body(published[1]))
    assert (caught.value.actor_id, caught.value.size, caught.value.limit) == ("a", size, 1_000)
    assert publish_events("shop", published, 2, 1_000, MIB)[1] == 3
    assert publish_events("shop", published, 0, size, MIB)[1] == 3
    with pytest.raises(TypeError, match="Event objects"):
        publish_events("shop", ["T"], 0, MIB, MIB)  # type: ignore[list-item]


@pytest.mark.parametrize("value", [None, True, 0, -5, "text", b"bytes", [1, [2]], {"a": {"b": None}}, 1.5])
def test_a_reply_comes_back(value):
    """A reply's value is read as it was written, None included; any msgpack reader can read it."""
    body = encode_reply(codec.encode(value))
    assert decode_reply(body) == (value, None)
    fields = msgpack.unpackb(body)
    assert (list(fields), fields["value"]) == (["format", "value", "crc"], value)


@pytest.mark.parametrize("text", ["no stock", "", "é" * 100_000, "lone \ud800"])
def test_an_error_comes_back(text):
    """A reply's error is read as it was written; a long one is cut, and what is no UTF-8 is replaced."""
    value, error = decode_reply(encode_error(text))
    assert value is None
    assert error is not None
    assert error == text.encode("utf-8", "replace").decode() or text.startswith(error) or error.startswith("lone ")
    assert len(error.encode()) <= 8_192


def test_what_is_no_reply():
    """Other bytes, every truncation and every flipped bit of a reply are a DecodeError; so is a value that is not exactly one."""
    for payload in (b"", b"\x01\x01", b"\xc1", b"\x92\x01"):
        with pytest.raises(DecodeError):
            encode_reply(payload)
    for body in (encode_reply(b"\xa2hi"), encode_error("no")):
        for length in range(len(body)):
            with pytest.raises(DecodeError):
                decode_reply(body[:length])
        for bit in range(8 * len(body)):
            damaged = bytearray(body)
            damaged[bit // 8] ^= 1 << bit % 8
            with pytest.raises(DecodeError):
                decode_reply(bytes(damaged))
    with pytest.raises(DecodeError, match="value or an error"):
        decode_reply(bus_body(Event("a", "T", 1)))


def test_every_flipped_bit_of_a_message_is_noticed():
    """A message with any one bit flipped, or cut short, is damage and never an event."""
    exchange, mailbox = a_mailbox()
    event = Event("order-1", "Placed", 3, {"total": 5}, metadata={"k": "v"})
    subject, body = bus_subject("shop", event), bus_body(event)
    for bit in range(8 * len(body)):
        damaged = bytearray(body)
        damaged[bit // 8] ^= 1 << bit % 8
        exchange.accept(subject, "", bytes(damaged))
    for length in range(len(body)):
        exchange.accept(subject, "", body[:length])
    assert (mailbox.damaged, mailbox.pending) == (9 * len(body), 0)


def test_no_bytes_on_the_wire_break_it(size):
    """Whatever comes under a bus's subscription, each message is an event that was sent or is counted as damaged."""
    draw = random.Random(6)
    exchange, mailbox = a_mailbox()
    reader = FrameReader("mine.")
    reader.attach_messages(7, exchange)
    event = Event("order-1", "Placed", 3, {"total": 5})
    subject, body = bus_subject("shop", event).encode(), bus_body(event)
    rounds, wholes = size.pick(2_000, 10_000, 100_000), 0
    for _ in range(rounds):
        bytes_sent, where = bytearray(body), bytearray(subject)
        match draw.randrange(4):
            case 0:
                bytes_sent[draw.randrange(len(body))] = draw.randrange(256)
            case 1:
                where[draw.randrange(len(where))] = draw.choice(b"abc.=-\xff\xc3*>")
            case 2:
                bytes_sent = bytearray(draw.randbytes(draw.randrange(300)))
            case _:
                pass
        wholes += bytes_sent == body and where == subject
        reader.feed(b"MSG %s 7 %d\r\n%s\r\n" % (where, len(bytes_sent), bytes_sent))
    assert mailbox.damaged + mailbox.pending == rounds
    assert mailbox.pending == wholes
    assert set(map(hash, _events(mailbox))) <= {hash(event)}


def _events(mailbox: Mailbox) -> list[Event]:
    mailbox.close()
    found: list[Event] = []
    while mailbox.has_next():
        try:
            found += mailbox.take(1_000)
        except Exception as error:  # noqa: BLE001 - each mark is told, and tells nothing more here
            assert "aether-bus" in str(error) or "subject" in str(error)  # noqa: PT017
    return found


def test_a_tally_remembers_which_came():
    """Answers that a reader leads to a tally, and those that it takes one by one, are seen; others are not."""
    tally = Tally()
    reader = FrameReader("mine.")
    reader.attach(7, "box.", tally)
    assert reader.feed(b"MSG box.5 7 0\r\n\r\nMSG else.6 7 0\r\n\r\nMSG box.9 7 2\r\nhi\r\n")[2] == [7]
    tally.accept(11, 0, 0, "", b"")
    tally.accept(11, 0, 0, "", b"")
    assert tally.seen() == {5, 9, 11}
    assert [tally.has(token) for token in (5, 6, 9, 11)] == [True, False, True, True]
    for token in range(100_000):
        tally.accept(token, 0, 0, "", b"")
    assert len(tally.seen()) == 65_536
