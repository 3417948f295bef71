"""Lines out of files and pipes."""

from __future__ import annotations

import asyncio
import gzip
import os
import tracemalloc
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import zstandard

from aether import AetherError
from aether.ingest import lines
from aether.ingest.chunks import NO_RECORD, Chunk
from aether.ingest.lines import LineSource
from aether.ingest.reading import Reading

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


DEVICE = Path("/dev/null")


@contextmanager
def source(path: Path) -> Iterator[LineSource]:
    """Open a file as a source."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        yield LineSource(Reading(descriptor, path.name))
    finally:
        os.close(descriptor)


def lines_in(chunk: Chunk) -> list[tuple[int, bytes | None]]:
    """Return what is not blank of a chunk; None for a line that was too long."""
    lines: list[tuple[int, bytes | None]] = []
    for number, line in enumerate(chunk.content.split(b"\n"), chunk.number):
        if line.strip():
            assert (number in chunk.problems) == (line == NO_RECORD)
            lines.append((number, chunk.originals.get(number, line)))
    return lines


async def lines_of(path: Path) -> list[tuple[int, bytes | None]]:
    """Read a file's lines."""
    with source(path) as opened:
        return [line async for chunk in opened.chunks() for line in lines_in(chunk)]


CASES = {
    "nothing": (b"", []),
    "no end": (b"a\nb", [(1, b"a"), (2, b"b")]),
    "blank lines": (b"\n\na\n \t\r\nb\n\n", [(3, b"a"), (5, b"b")]),
    "windows": (b"\xef\xbb\xbfa\r\nb\r\n", [(1, b"a\r"), (2, b"b\r")]),
    "one byte": (b"a", [(1, b"a")]),
    "two bytes": (b"a\n", [(1, b"a")]),
}


PACKED = {"plain": bytes, "gzip": gzip.compress, "zstd": zstandard.compress}


@pytest.mark.parametrize("pack", PACKED.values(), ids=PACKED)
@pytest.mark.parametrize(("content", "expected"), CASES.values(), ids=CASES)
async def test_lines_are_numbered_from_one_and_blank_ones_are_left_out(
    tmp_path: Path, content: bytes, expected: list[tuple[int, bytes]], pack: Callable[[bytes], bytes]
) -> None:
    """Lines keep the number that an editor shows, whatever their ends and whatever packs them."""
    file = tmp_path / "input"
    file.write_bytes(pack(content))
    assert await lines_of(file) == expected


async def test_gzip_members_and_padding_behind_one_another_are_read_as_one(tmp_path: Path) -> None:
    """Concatenated gzip files, padded with zeros as some tools do, are one input."""
    file = tmp_path / "input"
    file.write_bytes(gzip.compress(b"a\nb") + gzip.compress(b"c\n") + b"\0" * 100 + gzip.compress(b"d"))
    assert await lines_of(file) == [(1, b"a"), (2, b"bc"), (3, b"d")]


async def test_zstd_frames_behind_one_another_are_read_as_one(tmp_path: Path) -> None:
    """Concatenated zstd files are one input, an empty one and one with a size before it included."""
    file = tmp_path / "input"
    whole = zstandard.ZstdCompressor(write_content_size=False)
    file.write_bytes(
        zstandard.compress(b"a\nb") + zstandard.compress(b"") + whole.compress(b"c\n" * 100_000) + whole.compress(b"d")
    )
    found = await lines_of(file)
    assert found[:3] == [(1, b"a"), (2, b"bc"), (3, b"c")]
    assert found[-1] == (100_002, b"d")


@pytest.mark.parametrize("extra", [-1, 0, 1])
async def test_a_line_longer_than_the_limit_is_let_go_of_and_the_next_one_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, extra: int
) -> None:
    """A line of exactly the limit is kept, one byte more is not, and neither hides the line behind it."""
    monkeypatch.setattr(lines, "RECORD_BYTES_MAX", 1_000_000)
    file = tmp_path / "input"
    long = b"x" * (1_000_000 + extra)
    file.write_bytes(b"a\n" + long + b"\nb\n")
    assert await lines_of(file) == [(1, b"a"), (2, long if extra <= 0 else None), (3, b"b")]


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress], ids=["gzip", "zstd"])
async def test_a_bomb_takes_no_more_memory_than_a_line_may(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    """64 MiB without a line's end, packed into 64 kB or less, are read in the memory of one longest line."""
    file = tmp_path / "input"
    file.write_bytes(pack(b"x" * 64 * 2**20) + pack(b"\nb"))
    tracemalloc.start()
    try:
        found = await lines_of(file)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert found == [(1, None), (2, b"b")]
    assert peak < 3 * lines.RECORD_BYTES_MAX


@pytest.mark.parametrize("damage", ["cut", "altered"])
@pytest.mark.parametrize("kind", ["gzip", "zstd"])
async def test_damaged_data_yields_the_lines_before_the_damage_and_then_says_so(tmp_path: Path, kind: str, damage: str) -> None:
    """What can be unpacked comes first; then the error names the file and a command that checks it."""
    content = b"".join(b"%d\n" % number for number in range(300_000))
    packed = bytearray(PACKED[kind](content))
    middle = len(packed) // 2
    if damage == "cut":
        del packed[middle:]
    else:
        packed[middle : middle + 100] = bytes(100)
    file = tmp_path / "input.gz"
    file.write_bytes(packed)
    found: list[tuple[int, bytes | None]] = []

    async def collect(opened: LineSource) -> None:
        async for chunk in opened.chunks():
            found.extend(lines_in(chunk))

    with source(file) as opened, pytest.raises(AetherError, match=rf"^input.gz: the {kind} data .*{kind} -t$"):
        await collect(opened)
    assert len(found) > 1_000
    assert found[:3] == [(1, b"0"), (2, b"1"), (3, b"2")]


async def test_a_pipe_brings_lines_as_they_are_written_and_its_silence_blocks_nothing() -> None:
    """Lines come before the pipe's end, and the loop runs while it is silent, also between the bytes of the magic number."""
    reading, writing = os.pipe()
    try:
        chunks = LineSource(Reading(reading, "stdin")).chunks()
        packed = gzip.compress(b"a\n") + gzip.compress(b"b\n")
        half = len(packed) // 2
        first = asyncio.ensure_future(anext(chunks))
        for byte in packed[:half]:
            os.write(writing, bytes([byte]))
            await asyncio.sleep(0)
        assert lines_in(await first) == [(1, b"a")]
        second = asyncio.ensure_future(anext(chunks))
        await asyncio.sleep(0)
        assert not second.done()
        os.write(writing, packed[half:])
        assert lines_in(await second) == [(2, b"b")]
        os.close(writing)
        with pytest.raises(StopAsyncIteration):
            await anext(chunks)
    finally:
        os.close(reading)


async def test_waiting_for_a_silent_pipe_can_be_cancelled() -> None:
    """Cancelling the reader ends it at once, although the pipe never says a word."""
    reading, writing = os.pipe()
    try:
        waiting = asyncio.ensure_future(anext(LineSource(Reading(reading, "stdin")).chunks()))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    finally:
        os.close(reading)
        os.close(writing)


async def test_a_device_that_cannot_be_waited_for_is_read() -> None:
    """/dev/null is an empty input."""
    with source(DEVICE) as opened:
        assert [chunk async for chunk in opened.chunks()] == []
        assert opened.size is None


async def test_progress_is_in_bytes_as_they_lie_on_the_disk(tmp_path: Path) -> None:
    """At the end as many bytes were read as the file has, packed or not."""
    file = tmp_path / "input"
    file.write_bytes(gzip.compress(b"a\n" * 100_000))
    with source(file) as opened:
        async for _ in opened.chunks():
            assert opened.size is not None
            assert 0 < opened.done <= opened.size
        assert opened.done == opened.size == file.stat().st_size
