"""Downloads: the bytes that were stored or none, whole or in ranges, and inert in any browser."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import subprocess
from email.parser import BytesParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlencode

import pytest

from grants.file_store import FileStore
from sessions.models import RunnerSession
from tests import factories, stored
from tests.browsers import browser, page_of
from tests.contract.calls import content, problem
from tests.people import Org

EVIL = b"<html><script>alert(document.cookie)</script></html>" * 10


@pytest.fixture(scope="module")
def org() -> Org:
    return Org()


@pytest.fixture(scope="module")
def session(org: Org) -> RunnerSession:
    return factories.running(org)


@pytest.fixture(scope="module")
def evil(org: Org, session: RunnerSession) -> dict[str, Any]:
    return stored.put(org, session, EVIL, "evil.html", "text/html")


def content_path(session: RunnerSession, artifact: dict[str, Any]) -> str:
    return factories.path(session, "artifacts", artifact["id"], "content")


@pytest.fixture(scope="module")
def place(session: RunnerSession, evil: dict[str, Any]) -> str:
    return content_path(session, evil)


def get(org: Org, place: str, **headers: str) -> Any:
    return org.viewer.api.get(place, **headers)


# --- inert -----------------------------------------------------------------------------------


@pytest.mark.proves("artifact.whole")
def test_a_download_is_inert(
    org: Org, session: RunnerSession, evil: dict[str, Any], place: str
) -> None:
    page = browser(org.viewer).get(page_of(session, "artifacts", evil["id"]))
    for answer in (get(org, place), page):
        assert answer.status_code == 200
        assert answer["Content-Type"] == "application/octet-stream"
        assert answer["Content-Disposition"] == 'attachment; filename="evil.html"'
        assert answer["X-Content-Type-Options"] == "nosniff"
        assert answer["Content-Security-Policy"] == "sandbox; default-src 'none'"
        assert answer["Cross-Origin-Resource-Policy"] == "same-origin"
        assert answer["Accept-Ranges"] == "bytes"
        assert content(answer) == EVIL
        assert not [name for name in answer.cookies if name not in ("sessionid", "csrftoken")]


def test_its_digest_stands_beside_it(org: Org, place: str) -> None:
    answer = get(org, place)
    whole = content(answer)
    assert answer["ETag"] == f'"{hashlib.sha256(whole).hexdigest()}"'
    value = base64.b64encode(hashlib.sha256(whole).digest()).decode()
    assert answer["Repr-Digest"] == answer["Content-Digest"] == f"sha-256=:{value}:"
    part = get(org, place, Range="bytes=0-1")
    # Of a part's own bytes nothing is said; the whole's digest is for whoever puts it together.
    assert part["Repr-Digest"] == f"sha-256=:{value}:"
    assert "Content-Digest" not in part
    assert len(content(part)) == 2


NAMES = {
    "../../../../etc/passwd": "passwd",
    "/etc/passwd": "passwd",
    "..\\..\\windows\\win.ini": "win.ini",
    "C:\\x.exe": "x.exe",
    "..": "artifact",
    ".": "artifact",
    "a/..": "artifact",
    "a/": "a",
    "<script>alert(1)</script>.html": "script>.html",
    'a"; filename="b.exe': 'a"; filename="b.exe',
    "a;b.txt": "a;b.txt",
    "a,b=c.txt": "a,b=c.txt",
    "résumé 日本.txt": "résumé 日本.txt",
    "🙂.png": "🙂.png",
    "CON": "CON",
    "-rf": "-rf",
    ".profile": ".profile",
    "a%2e%2e%2fb": "a%2e%2e%2fb",
    "a\u200bb\ufeff.txt": "a_b_.txt",
    "x" * 255: "x" * 255,
    "日" * 248 + ".tar.gz": "日" * 82 + ".tar.gz",
    "x." + "y" * 250: "x." + "y" * 250,
}


@pytest.mark.parametrize("name", NAMES)
def test_a_name_saves_a_plain_file_whatever_it_says(
    name: str, org: Org, session: RunnerSession
) -> None:
    made = stored.put(org, session, b"x", name)
    header = get(org, content_path(session, made))["Content-Disposition"]
    assert header.isascii()
    assert header.isprintable()
    assert saved_as(header) == NAMES[name]
    assert len(NAMES[name].encode()) <= 255


def saved_as(header: str) -> str:
    """The name that a browser takes (RFC 6266, §4.3): the encoded one, where there is one."""
    found = re.fullmatch(
        r"attachment; filename=\"((?:[^\"\\]|\\.)*)\"(?:; filename\*=UTF-8''([^\s;]+))?", header
    )
    assert found, header
    return unquote(found[2], errors="strict") if found[2] else found[1]


def test_a_name_that_was_never_checked_cannot_break_a_header(
    org: Org, session: RunnerSession
) -> None:
    """Names are checked on their way in; what is served does not rely on that."""
    from grants.api.downloads import attachment

    for name in ("a\r\nSet-Cookie: x=1", "a\x00b", "\u202egpj.exe", "a\u2028b", "\ud800", "", " "):
        header = attachment(name)
        assert header.isascii()
        assert header.isprintable()
        assert not set(saved_as(header)) & set("\r\n\x00\u202e\u2028/\\")
        assert saved_as(header)


# --- ranges ----------------------------------------------------------------------------------

ONE = {
    "bytes=0-0": (0, 1),
    "bytes=0-9": (0, 10),
    "bytes=10-": (10, None),
    "bytes=-10": (-10, None),
    "bytes=-100000": (0, None),
    "bytes=5-100000": (5, None),
    "bytes=0-": (0, None),
    "BYTES=0-9": (0, 10),
    "bytes= 0-9": (0, 10),
    "bytes=0-4,5-9": (0, 10),
    "bytes=4-9, 0-5": (0, 10),
    "bytes=0-9,100000-": (0, 10),
}


@pytest.mark.parametrize("asked", ONE)
def test_a_range_is_that_range(asked: str, org: Org, place: str) -> None:
    answer = get(org, place, Range=asked)
    start, end = ONE[asked]
    expected = EVIL[start:end]
    assert (answer.status_code, content(answer)) == (206, expected)
    first = len(EVIL) + start if start < 0 else start
    assert answer["Content-Range"] == f"bytes {first}-{first + len(expected) - 1}/{len(EVIL)}"
    assert answer["Content-Length"] == str(len(expected))
    tag = answer["ETag"]
    again = get(org, place, Range=asked, If_Range=tag)
    assert (again.status_code, content(again)) == (206, expected)


@pytest.mark.parametrize(
    "validator", ['"other"', "W/{tag}", "Sun, 29 Nov 2026 00:00:00 GMT", "", "*", "{bare}"]
)
def test_a_range_of_another_version_is_the_whole(validator: str, org: Org, place: str) -> None:
    tag = get(org, place)["ETag"]
    sent = validator.format(tag=tag, bare=tag.strip('"'))
    answer = get(org, place, Range="bytes=0-1", If_Range=sent)
    assert (answer.status_code, content(answer)) == (200, EVIL)


@pytest.mark.parametrize(
    "asked",
    ["bytes=0-1,5-9", "bytes=-3,0-0", "bytes=5-9,0-1,300-", "bytes=1-1,3-3,100000-,7-7"],
)
def test_several_ranges_are_parts_of_one_answer(asked: str, org: Org, place: str) -> None:
    answer = get(org, place, Range=asked)
    body = content(answer)
    assert answer.status_code == 206
    assert answer["Content-Type"].startswith("multipart/byteranges; boundary=")
    assert answer["Content-Length"] == str(len(body))
    assert "Content-Range" not in answer
    document = b"Content-Type: " + answer["Content-Type"].encode() + b"\r\n\r\n" + body
    parts = BytesParser().parsebytes(document).get_payload()
    assert len(parts) == sum("100000" not in each for each in asked.split(","))
    for part in parts:
        assert part.get_content_type() == "application/octet-stream"
        found = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", part["Content-Range"])
        assert found
        first, last, size = map(int, found.groups())
        assert size == len(EVIL)
        assert part.get_payload(decode=True) == EVIL[first : last + 1]


@pytest.mark.parametrize(
    "asked",
    ["", "bytes", "bytes=", "bytes=-", "bytes=a-b", "bytes=5-1", "items=0-1", "bytes=0-1;5-9",
     "bytes=0-0-0", "bytes=\u0661-2", "bytes=" + "9" * 400 + "-", "bytes=0-1,5-1"],
)  # fmt: skip
def test_what_is_no_range_is_the_whole(asked: str, org: Org, place: str) -> None:
    answer = get(org, place, Range=asked)
    assert (answer.status_code, content(answer)) == (200, EVIL)


def test_a_range_that_there_is_not_is_refused_with_the_size(
    org: Org, session: RunnerSession, place: str
) -> None:
    many = "bytes=" + ",".join(f"{2 * n}-{2 * n}" for n in range(17))
    for asked in ("bytes=100000-", "bytes=100000-100001", "bytes=-0", many):
        refused = get(org, place, Range=asked)
        document = problem(refused, 416, "range_not_satisfiable")
        assert document["size_bytes"] == len(EVIL)
        assert refused["Content-Range"] == f"bytes */{len(EVIL)}"
    empty = content_path(session, stored.put(org, session, b""))
    for asked in ("bytes=0-", "bytes=-1"):
        problem(get(org, empty, Range=asked), 416, "range_not_satisfiable")
    assert content(get(org, empty)) == b""


def test_head_is_the_whole_without_its_bytes(
    org: Org, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = get(org, place)
    monkeypatch.setattr(FileStore, "open_range", lambda *_: pytest.fail("bytes were read"))
    for headers in ({}, {"Range": "bytes=0-1"}):
        head = org.viewer.api.request("HEAD", place, **headers)
        assert (head.status_code, content(head)) == (200, b"")
        for name in ("Content-Length", "ETag", "Repr-Digest", "Content-Disposition"):
            assert head[name] == whole[name]


def test_what_the_client_has_is_not_sent_again(org: Org, place: str) -> None:
    tag = get(org, place)["ETag"]
    for sent in (tag, f'"x", {tag}', f"W/{tag}", "*"):
        answer = get(org, place, If_None_Match=sent, Range="bytes=0-1")
        assert (answer.status_code, content(answer)) == (304, b"")
        assert answer["ETag"] == tag
        # A cache would take it for that of the bytes that it has.
        assert "Content-Type" not in answer
    assert get(org, place, If_None_Match='"x"').status_code == 200


def test_a_download_that_is_cut_goes_on_where_it_was(org: Org, session: RunnerSession) -> None:
    data = os.urandom(1_000_003)
    place = content_path(session, stored.put(org, session, data))
    received, tag = b"", ""
    while len(received) < len(data):
        headers = {"Range": f"bytes={len(received)}-", "If-Range": tag} if received else {}
        answer = get(org, place, **headers)
        tag = answer["ETag"]
        received += next(iter(answer.streaming_content))[:200_001]
        answer.close()
    assert tag == f'"{hashlib.sha256(received).hexdigest()}"'


# --- the right bytes or none -----------------------------------------------------------------


@pytest.mark.proves("artifact.integrity")
@pytest.mark.parametrize("size", [1, 200_000, 256 * 1024, 900_000])
def test_a_flipped_bit_never_arrives_as_a_whole_download(
    size: int, org: Org, session: RunnerSession, tmp_path: Path
) -> None:
    made = stored.put(org, session, os.urandom(size))
    good = stored.flip(org, made["sha256"], tmp_path)
    answer = get(org, content_path(session, made))
    if answer.status_code == 200:
        received = []
        with pytest.raises(Exception, match="no longer those that were recorded"):
            received += list(answer.streaming_content)
        assert len(b"".join(received)) < size
    else:
        problem(answer, 410, "content_broken")
    # From here on it is known, and nothing of it is given out.
    for headers in ({}, {"Range": "bytes=0-0"}, {"If-None-Match": "*"}):
        problem(get(org, content_path(session, made), **headers), 410, "content_broken")
    assert org.viewer.api.request("HEAD", content_path(session, made)).status_code == 410
    page = browser(org.viewer).get(page_of(session, "artifacts", made["id"]))
    assert page.status_code == 410
    stored.replace(org, made["sha256"], good, tmp_path)


@pytest.mark.proves("artifact.integrity")
def test_bytes_that_are_gone_or_short_are_said_to_be(
    org: Org, session: RunnerSession, tmp_path: Path
) -> None:
    made = stored.put(org, session, os.urandom(10))
    other = stored.put(org, session, os.urandom(10))
    stored.lose(org, made["sha256"])
    stored.replace(org, other["sha256"], b"short", tmp_path)
    for artifact, code in ((made, "content_missing"), (other, "content_broken")):
        for headers in ({}, {"Range": "bytes=0-1"}):
            problem(get(org, content_path(session, artifact), **headers), 410, code)
        page = browser(org.viewer).get(page_of(session, "artifacts", artifact["id"]))
        assert page.status_code == 410
        described = org.viewer.api.get(factories.path(session, "artifacts", artifact["id"]))
        assert described.json()["status"] == code.removeprefix("content_")


@pytest.mark.proves("audit.every-mutation")
def test_a_download_is_on_record_with_what_was_given(
    org: Org, session: RunnerSession, evil: dict[str, Any], place: str
) -> None:
    content(get(org, place, Range="bytes=0-1,5-9"))
    browser(org.viewer).get(page_of(session, "artifacts", evil["id"]))
    org.viewer.api.request("HEAD", place)
    query = f"?verb=artifact.downloaded&object={evil['id']}&limit=2"
    whole, part = org.auditor.api.get(f"/runners/audit{query}").json()["items"]
    assert whole["actor"] == part["actor"] == org.viewer.principal.actor
    assert whole["detail"] == {"sha256": evil["sha256"]}
    assert part["detail"] == {"sha256": evil["sha256"], "ranges": "0-1,5-9"}


# --- the list of all -------------------------------------------------------------------------


@pytest.mark.proves("artifact.manifest")
def test_a_session_lists_its_files_as_sha256sum_reads_them(org: Org, tmp_path: Path) -> None:
    session = factories.running(org)
    place = factories.path(session, "artifacts", "manifest")
    assert content(get(org, place)) == b""
    names = ["out/a.log", "a.log", "../../etc/passwd", "SHA256SUMS"]
    made = [stored.put(org, session, name.encode(), name) for name in names]
    gone = stored.put(org, session, b"gone", "gone.txt")
    reason = {"reason": "it was a secret"}
    path = factories.path(session, "artifacts", gone["id"])
    assert org.operator.api.delete(f"{path}?{urlencode(reason)}").status_code == 204
    answer = get(org, place)
    assert answer["Content-Type"] == "text/plain; charset=utf-8"
    text = content(answer).decode()
    assert text.splitlines()[-1] == f"# removed: {gone['sha256']}  gone.txt"
    saved = [line.partition("  ")[2] for line in text.splitlines()]
    assert saved[:3] == ["a.log", f"a.{made[1]['id']}.log", "passwd"]
    for artifact, name in zip(made, saved, strict=False):
        whole = get(org, content_path(session, artifact))
        (tmp_path / name).write_bytes(content(whole))
    (tmp_path / "sums").write_text(text)
    command = ["sha256sum", "-c", "--strict", "sums"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, timeout=30)
    assert get(org, place, If_None_Match=answer["ETag"]).status_code == 304
    problem(Org().viewer.api.get(place), 404, "not_found")
