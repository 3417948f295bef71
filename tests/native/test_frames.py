"""What the lane reads and writes, beside nats-py's own parser and encoder, on the same bytes in arbitrary chunks."""

from __future__ import annotations

import json
import random
import re
from contextlib import suppress
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from nats.errors import ProtocolError
from nats.protocol import command
from nats.protocol.parser import Parser

from aether import DecodeError
from aether._native import FrameReader, publish_frame, request_frames

if TYPE_CHECKING:
    from conftest import Size

INBOX = "_INBOX.abc."
STATUS = re.compile(rb"NATS/1\.0 (\d{3})(?=[ \r\n]|$)")


class Heard(NamedTuple):
    """What a reader made of a conversation: answers on our inbox, control frames, and whether it refused the bytes."""

    answers: list[tuple[int, int, bytes]]
    controls: list[tuple[str, bytes]]
    refused: bool


class Listener:
    """The client that nats-py's parser tells of frames."""

    def __init__(self) -> None:
        self.heard = Heard([], [], refused=False)

    async def _process_msg(self, sid: int, subject: bytes, _reply: bytes, data: bytes, headers: bytes | None) -> None:
        if sid == 1 and subject.startswith(INBOX.encode()):
            found = STATUS.match(headers or b"")
            status = int(found[1]) if found else 0
            self.heard.answers.append((int(subject.decode().removeprefix(INBOX)), status, data))

    async def _process_err(self, text: str) -> None:
        self.heard.controls.append(("-ERR", text.strip("'").encode()))

    async def _process_ping(self) -> None:
        self.heard.controls.append(("PING", b""))

    async def _process_pong(self) -> None:
        self.heard.controls.append(("PONG", b""))

    async def _process_info(self, info: dict[str, Any]) -> None:
        self.heard.controls.append(("INFO", repr(info).encode()))


async def theirs(chunks: list[bytes]) -> Heard:
    """What nats-py's parser says."""
    listener = Listener()
    parser = Parser(listener)
    try:
        for chunk in chunks:
            await parser.parse(chunk)
    except (ProtocolError, ValueError, AttributeError):  # what it raises on bytes that are no protocol
        return listener.heard._replace(refused=True)
    return listener.heard


def ours(chunks: list[bytes]) -> Heard:
    """What ours says, told as nats-py tells it."""
    reader, heard = FrameReader(INBOX), Heard([], [], refused=False)
    try:
        for chunk in chunks:
            answers, controls, touched = reader.feed(chunk)
            assert not touched
            heard.answers.extend((token, status, body) for token, status, _, _, body in answers)
            heard.controls.extend(_told(name, text) for name, text in controls)
    except DecodeError:
        return Heard([], [], refused=True)  # what it heard in the same chunk before is lost, and so depends on the cuts
    return heard


def _told(name: str, text: bytes) -> tuple[str, bytes]:
    if name == "-ERR":
        return name, text.decode().lower().strip("'").encode()
    if name == "INFO":
        with suppress(json.JSONDecodeError):  # then nats-py refuses it, and here it is the connection that does
            return name, repr(json.loads(text)).encode()
    return name, text


def frames(dice: random.Random, count: int) -> list[bytes]:
    """Frames as a real server writes them."""
    said = []
    for _ in range(count):
        subject = dice.choice([f"{INBOX}{dice.randrange(10**6)}", f"{INBOX}0", "other.subject"])
        sid = dice.choice([1, 1, 1, 2, 987654])
        reply = dice.choice(["", "", "reply.to ", "77 "])
        payload = dice.choice([b"", dice.randbytes(dice.randrange(200)), b"\r\nPING\r\nMSG x 1 3\r\n"])
        headers = dice.choice(
            [b"NATS/1.0\r\n\r\n", b"NATS/1.0 404 No Messages\r\n\r\n", b"NATS/1.0 503\r\n\r\n", b"NATS/1.0\r\nA: b\r\n\r\n"]
        )
        said.append(
            dice.choice(
                [
                    b"PING\r\n",
                    b"PONG\r\n",
                    b"+OK\r\n",
                    b'INFO {"server_id":"x"} \r\n',
                    b"-ERR 'Stale Connection'\r\n",
                    b"-ERR 'Permissions Violation for Publish to \"a.B\"'\r\n",
                    *[f"MSG {subject} {sid} {reply}{len(payload)}\r\n".encode() + payload + b"\r\n"] * 4,
                    *[
                        f"HMSG {subject} {sid} {reply}{len(headers)} {len(headers) + len(payload)}\r\n".encode()
                        + headers
                        + payload
                        + b"\r\n"
                    ]
                    * 4,
                ]
            )
        )
    return said


def chunked(dice: random.Random, talk: bytes) -> list[bytes]:
    """The bytes, cut at random places."""
    cuts = sorted({0, len(talk), *(dice.randrange(len(talk) + 1) for _ in range(dice.randrange(8)))})
    return [talk[start:end] for start, end in pairwise(cuts)]


async def test_conversations_are_heard_as_nats_py_hears_them(size: Size) -> None:
    """Sound conversations, cut anywhere, give the same answers and control frames as nats-py's parser gives."""
    answers = 0
    for seed in range(size.pick(1500, 20_000, 200_000)):
        dice = random.Random(seed)
        talk = b"".join(frames(dice, dice.randrange(1, 9)))
        heard = ours(chunked(dice, talk))
        assert heard == await theirs(chunked(dice, talk)), f"seed {seed}: {talk!r}"
        assert not heard.refused
        answers += len(heard.answers)
    assert answers > 1000


async def test_what_both_take_of_an_altered_conversation_both_take_alike(size: Size) -> None:
    """With bytes altered or lost, a conversation that neither reader refuses gives the same answers and control frames."""
    refused = taken = 0
    for seed in range(size.pick(3000, 30_000, 300_000)):
        dice = random.Random(seed)
        talk = bytearray(b"".join(frames(dice, 3)))
        at = dice.randrange(len(talk))
        if dice.randrange(2):
            talk[at] = dice.choice(b"\r\n 09MSG'{")
        else:
            del talk[at : at + dice.randrange(1, 4)]
        chunks = chunked(dice, bytes(talk))
        heard, beside = ours(chunks), await theirs(chunks)
        assert heard == ours([bytes(talk)]), f"seed {seed}: {talk!r}"
        refused += heard.refused
        # To nats-py a CR by itself is white space; to us, as to the server, it is a byte of a name.
        if not heard.refused and not beside.refused and not re.search(rb"\r(?!\n)", talk):
            taken += 1
            assert heard == beside, f"seed {seed}: {bytes(talk)!r}"
    assert min(refused, taken) > 100


DIFFERENT: dict[str, bytes] = {
    "a message that does not end where it says": b"MSG _INBOX.abc.1 1 2\r\nhello\r\nPING\r\n",
    "a line cut in two where a gap may be": b"MSG _INBOX.abc.1\r\n1 2\r\nhi\r\n",
    "headers longer than their message": b"HMSG _INBOX.abc.1 1 9 2\r\nNATS/1.0\r\n\r\nhi\r\n",
    "an unknown frame of more than 4,096 bytes": b"HELLO " + b"x" * 5000 + b"\r\n",
    "an endless line": b"MSG " + b"x" * (2**20 + 10),
    "a message of more than 64 MiB": b"MSG _INBOX.abc.1 1 99999999\r\n",
    "headers of more than 64 KiB": b"HMSG _INBOX.abc.1 1 70000 80000\r\n",
    "a size with more digits than any size": b"MSG _INBOX.abc.1 1 0000000000000000000000002\r\nhi\r\n",
}


@pytest.mark.parametrize("what", DIFFERENT)
async def test_what_nats_py_takes_and_we_refuse(what: str) -> None:
    """Bytes that can only be garbage end the connection here; nats-py waits for more, or gives somebody an answer of them."""
    assert ours([DIFFERENT[what]]).refused
    beside = await theirs([DIFFERENT[what]])
    assert beside.answers or not beside.refused


@pytest.mark.parametrize("said", [b"ping\r\n", b"Ping\r\n", b"PING \t\r\n", b"PING now\r\n"])
async def test_a_verb_in_any_case_is_heard(said: bytes) -> None:
    """Case does not matter to the protocol, nor what stands behind a verb that has no arguments; nats-py takes capitals only."""
    assert ours([said]).controls == [("PING", b"")]


@pytest.mark.parametrize("said", [b"-ERR\r\n", b"-ERR 'it's'\r\n", b"-ERR no quotes\r\n", b"-ERR '\xff'\r\n"])
def test_any_text_of_an_error_is_heard(said: bytes) -> None:
    """A -ERR is an error whatever its text: with quotes inside, without any, empty, or no UTF-8; nats-py breaks on most."""
    _, controls, _ = FrameReader(INBOX).feed(said)
    assert controls == [("-ERR", said.removeprefix(b"-ERR").strip().removeprefix(b"'").removesuffix(b"'"))]


def test_a_reader_that_met_an_error_reads_no_more() -> None:
    """After bytes that are no protocol nothing that follows can be told from the middle of a message, so nothing is read."""
    reader = FrameReader(INBOX)
    with pytest.raises(DecodeError, match="no server sends"):
        reader.feed(b"PING\r\nHTTP/1.1 400 Bad Request\r\n")
    with pytest.raises(RuntimeError, match="has met an error before"):
        reader.feed(b"PING\r\n")


@pytest.mark.parametrize("payload", [b"", b"x", b"\r\n", bytes(range(256)) * 300])
@pytest.mark.parametrize("headers", [[], [("A", "b")], [("Nats-Expected-Last-Subject-Sequence", "18446744073709551615")]])
def test_what_is_sent_is_what_nats_py_sends(payload: bytes, headers: list[tuple[str, str]]) -> None:
    """A publish has the bytes that nats-py's encoder makes of it."""
    if headers:
        block = bytearray(b"NATS/1.0\r\n" + b"".join(f"{name}: {value}\r\n".encode() for name, value in headers) + b"\r\n")
        expected = command.hpub_cmd("a.b", "re.1", block, payload)
    else:
        expected = command.pub_cmd("a.b", "re.1", payload)
    # nats-py leaves two blanks where there is no reply; where there is one the bytes are the same.
    assert publish_frame("a.b", "re.1", headers, payload) == bytes(expected)
    assert publish_frame("a.b", "", headers, payload).split() == bytes(expected).replace(b" re.1", b"", 1).split()


def test_a_batch_of_requests_is_what_nats_py_sends_one_by_one() -> None:
    """The requests of a batch are the publishes that nats-py's encoder makes, with reply subjects counted on."""
    payloads = [b'{"seq":%d}' % number for number in range(95, 105)]
    expected = b"".join(
        bytes(command.pub_cmd("$JS.API.DIRECT.GET.S", f"{INBOX}{token}", payload)) for token, payload in enumerate(payloads, 95)
    )
    assert request_frames("$JS.API.DIRECT.GET.S", INBOX, 95, payloads) == expected
