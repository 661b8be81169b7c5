"""What of a file is shown, by its type and by its bytes; and what never is."""

from __future__ import annotations

import json
import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grants import previews, rasters
from grants.models import Artifact
from grants.previews import Preview


def of(
    content: bytes, media_type: str = "text/plain", name: str = "a", size: int | None = None
) -> Preview:
    size = len(content) if size is None else size
    artifact = Artifact(name=name, media_type=media_type, size_bytes=size)
    return previews.preview(artifact, content[: previews.HEAD_BYTES])


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int = 2, height: int = 3) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    rows = zlib.compress((b"\0" + bytes(width)) * height) if width * height < 10**6 else b""
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    )


GIF = b"GIF89a\x02\0\x03\0\x80\0\0\0\0\0\xff\xff\xff,\0\0\0\0\x02\0\x03\0\0\x02\x03\x84\x8f\x05\0;"
JPEG = (
    b"\xff\xd8\xff\xe0\0\x10JFIF\0\1\1\0\0\1\0\1\0\0\xff\xdb\0\x03\0"
    b"\xff\xc0\0\x11\x08\0\x03\0\x02\x03\1\x22\0\2\x11\1\3\x11\1\xff\xd9"
)
WEBP_LOSSY = b"RIFF\x24\0\0\0WEBPVP8 \x18\0\0\0\x30\1\0\x9d\1\x2a\x02\0\x03\0\0\0\0\0"
WEBP_LOSSLESS = b"RIFF\x1a\0\0\0WEBPVP8L\x0d\0\0\0\x2f\x01\x80\0\0\x07\x10\x11\x11\x11\x88\x88"
WEBP_EXTENDED = b"RIFF\x1a\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0\x01\0\0\x02\0\0"
IMAGES = {
    "png": ("image/png", png()),
    "gif": ("image/gif", GIF),
    "jpeg": ("image/jpeg", JPEG),
    "webp": ("image/webp", WEBP_LOSSY),
    "webp, lossless": ("image/webp", WEBP_LOSSLESS),
    "webp, extended": ("image/webp", WEBP_EXTENDED),
}


@pytest.mark.parametrize("name", IMAGES)
def test_a_raster_is_told_by_its_bytes(name: str) -> None:
    media_type, content = IMAGES[name]
    expected = rasters.Raster(media_type, 2, 3)
    assert rasters.raster(content) == expected
    for declared in (media_type, "application/octet-stream"):
        assert of(content, declared).image == expected
    # However little of it there is, it is no error, and never another format.
    for length in range(len(content)):
        assert rasters.raster(content[:length]) in (expected, None)


@pytest.mark.parametrize("declared", ["text/html", "image/svg+xml", "text/plain", "image/gif"])
def test_an_image_that_is_called_otherwise_is_not_shown(declared: str) -> None:
    shown = of(png(), declared)
    assert (shown.kind, shown.image) == ("none", None)
    assert "image/png" in shown.notes[0]
    assert previews.image(Artifact(media_type=declared, size_bytes=1), png()) is None


def test_an_image_that_would_fill_the_viewers_memory_is_not_shown() -> None:
    assert rasters.raster(png(100_000, 100_000)) is None
    assert of(png(100_000, 100_000), "image/png").kind == "none"
    assert of(png(), "image/png", size=previews.MOST_IMAGE_BYTES + 1).kind == "none"
    assert rasters.raster(png(0, 0)) is None


MARKUP = [
    b"<!doctype html><script>alert(1)</script>",
    b"\n\t <HTML>",
    b"<script>alert(1)</script>",
    b"<svg onload=alert(1)>",
    b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>",
    b"<?xml version='1.0'?><?xml-stylesheet href='#x' type='text/xsl'?><x/>",
    b"<!-- --><script>alert(1)</script>",
    b"\xef\xbb\xbf<html>",
    b"<a href=javascript:alert(1)>",
    b"<iframe srcdoc=x>",
    b"%PDF-1.7 /JS (app.alert(1))",
]


@pytest.mark.parametrize("content", MARKUP)
@pytest.mark.parametrize(
    "declared",
    ["text/plain", "application/octet-stream", "application/json", "text/csv", "text/html",
     "image/svg+xml", "application/xhtml+xml", "text/xml", "application/pdf", "image/png"],
)  # fmt: skip
def test_markup_is_shown_under_no_name(content: bytes, declared: str) -> None:
    assert of(content, declared).kind == "none"


@pytest.mark.parametrize(
    "declared",
    ["text/html", "image/svg+xml", "application/xml", "text/xsl", "application/xslt+xml",
     "application/pdf", "application/zip", "video/mp4", "application/javascript",
     "application/x-msdownload", "multipart/related", "application/rss+xml"],
)  # fmt: skip
def test_types_that_programs_run_are_not_shown_whatever_they_hold(declared: str) -> None:
    assert of(b"plain words", declared).kind == "none"


def test_text_is_shown_in_lines_and_bounded() -> None:
    assert of(b"one\r\ntwo\n\nfour\n").lines == ["one", "two", "", "four"]
    assert of("\ufeffünï 漢🙂".encode()).lines == ["ünï 漢🙂"]
    assert of(b"").lines == []
    long = of(b"x" * 5000)
    assert long.lines == ["x" * 2000 + "… (5,000 characters)"]
    many = of(b"x\n" * 5000)
    assert (len(many.lines), many.notes) == (2000, ["The first 2,000 lines."])
    large = of(b"word " * 100_000)
    assert large.notes == ["The first 256 KiB."]


def test_a_character_that_the_end_cuts_is_left_out_and_another_is_no_text() -> None:
    whole = ("x" + "漢" * 100_000).encode()
    cut = of(whole)
    assert cut.kind == "text"
    assert "\ufffd" not in "".join(cut.lines)
    assert of(b"\xe6\xbc").kind == "none"
    assert of(b"a\xffb" + b"x" * 100).kind == "none"


@pytest.mark.parametrize("content", [b"a\0b", b"\x7fELF\0\1", b"\x01" * 300, b"PK\x03\x04\xff"])
def test_what_is_not_text_is_not_shown_as_text(content: bytes) -> None:
    assert of(content).kind == "none"


def test_control_characters_are_kept_for_the_page_to_spell_out() -> None:
    shown = of("\x1b[31mred\x1b[0m \u202egpj.exe\x07".encode())
    assert shown.lines == ["\x1b[31mred\x1b[0m \u202egpj.exe\x07"]


def test_json_is_a_tree_where_it_is_whole_and_not_endless() -> None:
    assert of(b'{"a": [1]}', "application/json").value == {"a": [1]}
    assert of(b'{"a": [1]}', "application/vnd.x+json").kind == "json"
    assert of(b"[]", "text/plain", "x.JSON").kind == "json"
    for broken in (b'{"a": ', b"[1,]", b"[" * 300, b"[" * 100_000, b"1" * 5000):
        assert of(broken, "application/json").kind == "text"
    deep = json.loads("[" * 30 + "]" * 30)
    assert of(json.dumps(deep).encode(), "application/json").kind == "json"
    assert of(b"[" * 41 + b"]" * 41, "application/json").kind == "text"
    large = json.dumps(["x" * 1000] * 500).encode()
    assert of(large, "application/json").kind == "text"


def test_csv_is_a_table_and_bounded() -> None:
    assert of(b'a,"b,c"\n1,2\n', "text/csv").rows == [["a", "b,c"], ["1", "2"]]
    assert of(b"a;b\n1;2\n", "text/csv").rows == [["a", "b"], ["1", "2"]]
    assert of(b"a\tb\n", "text/plain", "x.tsv").rows == [["a", "b"]]
    many = of(b"1,2\n" * 300, "text/csv")
    assert (len(many.rows), many.notes) == (200, ["The first 200 rows."])
    wide = of(b",".join([b"1"] * 100), "text/csv")
    assert (len(wide.rows[0]), wide.notes) == (50, ["The first 50 columns."])
    assert of(b"x" * 1000, "text/csv").rows == [["x" * 200 + "… (1,000 characters)"]]
    # A field that csv gives up on is text.
    assert of(b'"' + b"x" * 200_000, "text/csv").kind == "text"
    # A row that the end cuts is not shown as if it were whole.
    assert of(b"1,22\n" * 60_000, "text/csv").rows[-1] == ["1", "22"]


types = st.sampled_from(["text/plain", "text/csv", "application/json", "application/octet-stream"])


@given(st.one_of(st.binary(max_size=600), st.text(max_size=300).map(str.encode)), types)
def test_no_bytes_are_an_error(content: bytes, media_type: str) -> None:
    shown = of(content, media_type)
    assert shown.kind in ("text", "json", "csv", "image", "none")
    assert shown.notes or shown.kind != "none"


@given(st.sampled_from(sorted(IMAGES)), st.binary(max_size=40), st.integers(0, 60))
def test_no_damaged_image_is_an_error(name: str, junk: bytes, at: int) -> None:
    content = IMAGES[name][1]
    found = rasters.raster(content[:at] + junk + content[at + len(junk) :])
    assert found is None or found.width * found.height > 0
