"""Artifacts: whole or not at all, whatever is sent."""

from __future__ import annotations

import base64
import errno
import hashlib
import os
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from django.conf import settings
from django.test.client import encode_multipart

from grants import drafts, file_store
from tests import blobs, factories
from tests.contract.calls import content, problem, stored
from tests.people import Api, Org, client

CONTENT = b"line one\nline two\n" * 100
SHA256 = hashlib.sha256(CONTENT).hexdigest()
TEXT = {"Content-Type": "text/plain"}
BOUNDARY = "boundary-of-the-form"


@pytest.fixture(scope="module")
def org() -> Org:
    made = Org()
    assert all((made.admin, made.operator, made.runner, made.viewer))
    return made


@pytest.fixture(scope="module")
def path(org: Org) -> str:
    return factories.path(factories.running(org), "artifacts")


@pytest.fixture(autouse=True)
def _no_temporary_file_is_left() -> Iterator[None]:
    # Other modules of this worker, and of the run before, leave uploads that go on.
    before = blobs.drafts()
    yield
    assert blobs.drafts() == before


def kept(org: Org) -> list[str]:
    """The digests that the store holds for the organization."""
    place = Path(settings.ARTIFACTS_DIR) / org.id.hex
    return sorted(file.name for file in place.rglob("*") if file.is_file())


def digest(data: bytes, algorithm: str = "sha256") -> str:
    name = algorithm.replace("sha", "sha-")
    return f"{name}=:{base64.b64encode(hashlib.new(algorithm, data).digest()).decode()}:"


def raw(org: Org, path: str, query: str = "?name=a.txt", data: bytes = CONTENT, **more: str) -> Any:
    return org.runner.api.request("POST", f"{path}{query}", raw=data, **{**TEXT, **more})


def form(
    org: Org, path: str, fields: dict[str, Any] | None = None, query: str = "", **more: str
) -> Any:
    given = {"file": upload()} if fields is None else fields
    data = encode_multipart(BOUNDARY, given)
    headers = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}", **more}
    return org.runner.api.request("POST", f"{path}{query}", raw=data, **headers)


def upload(data: bytes = CONTENT, name: str = "a.txt", media_type: str = "text/plain") -> Any:
    file = BytesIO(data)
    file.name = name
    file.content_type = media_type  # type: ignore[attr-defined]
    return file


def environ(org: Org, path: str, stream: bytes, **meta: Any) -> Any:
    """A request as a server hands it on, where the headers do not follow from the body."""
    given = {
        "REQUEST_METHOD": "POST",
        "PATH_INFO": f"/v1{path.partition('?')[0]}",
        "QUERY_STRING": path.partition("?")[2],
        "CONTENT_TYPE": "text/plain",
        "HTTP_AUTHORIZATION": f"Bearer {org.runner.api.token}",
        "wsgi.input": BytesIO(stream),
    }
    return client().request(**{**given, **meta})


# --- what works ------------------------------------------------------------------------------


def test_a_raw_body(org: Org, path: str) -> None:
    answer = raw(
        org, path, f"?name=out/a.txt&kind=log&sha256={SHA256}", Content_Digest=digest(CONTENT)
    )
    assert answer.status_code == 201, answer.content
    made = answer.json()
    assert (made["name"], made["kind"], made["media_type"]) == ("out/a.txt", "log", "text/plain")
    assert (made["size_bytes"], made["sha256"]) == (len(CONTENT), SHA256)
    assert made["status"] == "stored"
    assert kept(org).count(SHA256) == 1


def test_a_form(org: Org, path: str) -> None:
    for fields, query, expected in (
        ({"file": upload()}, "", ("a.txt", "file")),
        ({"file": upload(), "name": "b.txt", "kind": "log"}, "", ("b.txt", "log")),
        ({"name": "b.txt", "kind": "log", "file": upload()}, "", ("b.txt", "log")),
        ({"file": upload(), "sha256": SHA256}, "", ("a.txt", "file")),
        ({"file": upload()}, "?name=c.txt&kind=bundle", ("c.txt", "bundle")),
        ({"file": upload(name="../../x/a.txt")}, "", ("a.txt", "file")),
    ):
        answer = form(org, path, fields, query)
        assert answer.status_code == 201, answer.content
        made = answer.json()
        assert (made["name"], made["kind"]) == expected
        assert (made["sha256"], made["media_type"]) == (SHA256, "text/plain")


def test_an_empty_file_is_a_file(org: Org, path: str) -> None:
    nothing = hashlib.sha256(b"").hexdigest()
    for answer in (raw(org, path, data=b""), form(org, path, {"file": upload(b"")})):
        assert answer.status_code == 201, answer.content
        assert (answer.json()["size_bytes"], answer.json()["sha256"]) == (0, nothing)


def test_the_same_bytes_are_stored_once(org: Org, path: str) -> None:
    data = os.urandom(1000)
    for _ in range(2):
        assert raw(org, path, data=data).status_code == 201
    assert kept(org).count(hashlib.sha256(data).hexdigest()) == 1


def test_the_media_type_of_any_body_is_only_what_it_is_called(org: Org, path: str) -> None:
    for sent, shown in (
        ("text/html; charset=utf-8", "text/html"),
        ("IMAGE/SVG+XML", "image/svg+xml"),
        ("application/json", "application/json"),
        ("application/x-www-form-urlencoded", "application/x-www-form-urlencoded"),
        ("", "application/octet-stream"),
    ):
        answer = raw(org, path, **{"Content-Type": sent})
        assert answer.json()["media_type"] == shown


# --- what is refused, and leaves nothing -----------------------------------------------------

WRONG = hashlib.sha256(b"other").hexdigest()
REFUSED_RAW: dict[str, tuple[str, dict[str, str], int, str]] = {
    "no name": ("", {}, 422, "invalid"),
    "wrong digest in the query": (f"?name=a&sha256={WRONG}", {}, 422, "digest_mismatch"),
    "wrong digest in the header": (
        "?name=a", {"Content-Digest": digest(b"other")}, 422, "digest_mismatch",
    ),
    "one right, one wrong": (
        f"?name=a&sha256={SHA256}", {"Content-Digest": digest(b"other")}, 422, "digest_mismatch",
    ),
    "digest in capitals": (f"?name=a&sha256={SHA256.upper()}", {}, 422, "invalid"),
    "short digest": ("?name=a&sha256=00", {}, 422, "invalid"),
    "long digest": (f"?name=a&sha256={'0' * 2000}", {}, 422, "invalid"),
    "another algorithm": (
        "?name=a", {"Content-Digest": digest(CONTENT, "sha512")}, 400, "malformed",
    ),
    "no digest in the header": ("?name=a", {"Content-Digest": "sha-256=abc"}, 400, "malformed"),
    "empty header": ("?name=a", {"Content-Digest": ""}, 400, "malformed"),
    "gzip": ("?name=a", {"Content-Encoding": "gzip"}, 415, "unsupported_media_type"),
    "no media type": ("?name=a", {"Content-Type": "no type"}, 422, "invalid"),
    "a media type with more": ("?name=a", {"Content-Type": "text/pl\u00e4in"}, 422, "invalid"),
    "a kind in capitals": ("?name=a&kind=LOG", {}, 422, "invalid"),
    "a kind with a path": ("?name=a&kind=../x", {}, 422, "invalid"),
    "a long kind": (f"?name=a&kind={'a' * 65}", {}, 422, "invalid"),
    "two names": ("?name=a&name=b", {}, 400, "unknown_parameter"),
    "an unknown parameter": ("?name=a&path=/etc/passwd", {}, 400, "unknown_parameter"),
    "epoch of another lease": ("?name=a", {"Lease-Epoch": "2"}, 409, "lease_lost"),
    "no epoch": ("?name=a", {"Lease-Epoch": "x"}, 400, "invalid_parameter"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED_RAW)
def test_a_refused_body_leaves_nothing(name: str, org: Org, path: str) -> None:
    query, headers, status, code = REFUSED_RAW[name]
    before = stored(org), kept(org)
    data = CONTENT + name.encode()
    expected = digest(CONTENT)
    headers = {n: digest(data) if v == expected else v for n, v in headers.items()}
    query = query.replace(SHA256, hashlib.sha256(data).hexdigest())
    problem(raw(org, path, query, data, **headers), status, code)
    assert (stored(org), kept(org)) == before


HOSTILE_NAMES = {
    "": 400,
    "%20%20": 422,
    "%00": 400,
    "a%00.txt": 400,
    "a%0d%0aSet-Cookie:x": 400,
    "a%1b%5b31m": 400,
    "a%7f": 400,
    "a%c2%85b": 422,
    "a%c2%9b31m": 422,
    "a%e2%80%a8b": 422,
    "gro%e2%80%aegnp.exe": 422,
    "a%e2%81%a6b": 422,
    "a%e2%80%8fb": 422,
    "a%d8%9cb": 422,
    "x" * 256: 422,
    "x" * 3000: 400,
}


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_names_that_would_deceive_are_refused(name: str, org: Org, path: str) -> None:
    before = stored(org), kept(org)
    answer = raw(org, path, f"?name={name}", os.urandom(10))
    document = problem(answer, HOSTILE_NAMES[name])
    assert "name" in document["detail"] or document["errors"][0]["pointer"] == "/name"
    assert (stored(org), kept(org)) == before


ODD_NAMES = [
    "../../../../etc/passwd", "/etc/passwd", "..\\..\\windows\\win.ini", "..", "a/",
    "<script>alert(1)</script>.html", 'a"; filename="b.exe', "résumé 日本.txt", "-rf", "x" * 255,
]  # fmt: skip


@pytest.mark.parametrize("name", ODD_NAMES)
def test_a_name_is_text_and_never_a_path(name: str, org: Org, path: str) -> None:
    data = os.urandom(20)
    answer = raw(org, path, f"?name={quote(name, safe='')}", data)
    assert answer.status_code == 201, answer.content
    assert answer.json()["name"] == name
    assert blobs.path_of(org.id, answer.json()["sha256"]).read_bytes() == data


# --- forms -----------------------------------------------------------------------------------


def _part(headers: str, data: bytes = CONTENT) -> bytes:
    return f"--{BOUNDARY}\r\n{headers}\r\n\r\n".encode() + data + b"\r\n"


_FILE = 'Content-Disposition: form-data; name="file"; filename="a.txt"\r\nContent-Type: text/plain'
_NAME = 'Content-Disposition: form-data; name="name"'
END = f"--{BOUNDARY}--\r\n".encode()
REFUSED_FORMS: dict[str, tuple[bytes, int, str]] = {
    "no file": (_part(_NAME, b"a") + END, 422, "/file"),
    "a file in another field": (_part(_FILE.replace('"file"', '"upload"')) + END, 422, "/upload"),
    "text in the file's field": (
        _part('Content-Disposition: form-data; name="file"', b"x") + END, 422, "/file",
    ),
    "a file in the name's field": (
        _part(_FILE) + _part(_FILE.replace('"file"', '"name"')) + END, 422, "/file",
    ),
    "two files": (_part(_FILE) + _part(_FILE) + END, 422, "/file"),
    "two names": (_part(_NAME, b"a") + _part(_NAME, b"b") + _part(_FILE) + END, 422, "/name"),
    "an unknown field": (_part(_NAME.replace('"name"', '"path"'), b"a") + _part(_FILE) + END, 422,
                         "/path"),
    "a name with NUL": (_part(_NAME, b"a\x00b") + _part(_FILE) + END, 422, "/name"),
    "a name with a line": (_part(_NAME, b"a\r\nb") + _part(_FILE) + END, 422, "/name"),
    "an empty name": (_part(_NAME, b"") + _part(_FILE) + END, 422, "/name"),
    "an empty kind": (_part(_NAME.replace('"name"', '"kind"'), b"") + _part(_FILE) + END, 422,
                      "/kind"),
    "a wrong digest": (
        _part(_NAME.replace('"name"', '"sha256"'), WRONG.encode()) + _part(_FILE) + END, 422, "",
    ),
    "no end": (_part(_FILE), 400, ""),
    "cut in the file": (_part(_FILE)[:-900], 400, ""),
    "cut in the last boundary": (_part(_FILE) + END[:-4], 400, ""),
    "garbage": (os.urandom(2000), 400, ""),
    "a huge field": (_part(_NAME, b"x" * 3_000_000) + _part(_FILE) + END, 413, ""),
    "many fields": (
        b"".join(_part(f'Content-Disposition: form-data; name="f{n}"', b"") for n in range(1500))
        + _part(_FILE) + END, 400, "",
    ),
    "bad base64": (_part(f"{_FILE}\r\nContent-Transfer-Encoding: base64", b"!") + END, 400, ""),
    "a media type that is none": (
        _part(_FILE.replace("text/plain", "text plain")) + END, 422, "/media_type",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED_FORMS)
def test_a_refused_form_leaves_nothing(name: str, org: Org, path: str) -> None:
    data, status, pointer = REFUSED_FORMS[name]
    before = stored(org), kept(org)
    headers = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
    answer = org.runner.api.request("POST", path, raw=data, **headers)
    document = problem(answer, status)
    if pointer:
        assert document["errors"][0]["pointer"] == pointer
    assert (stored(org), kept(org)) == before


@pytest.mark.parametrize(
    "media_type",
    ["multipart/form-data", "multipart/form-data; boundary=",
     "multipart/form-data; boundary=a b c;", f"multipart/form-data; boundary={'x' * 300}",
     "multipart/form-data; boundary=\u00e9"],
)  # fmt: skip
def test_a_form_without_a_boundary_is_refused(media_type: str, org: Org, path: str) -> None:
    before = stored(org), kept(org)
    data = encode_multipart(BOUNDARY, {"file": upload()})
    answer = org.runner.api.request("POST", path, raw=data, **{"Content-Type": media_type})
    problem(answer, 400)
    assert (stored(org), kept(org)) == before


def test_an_empty_form_is_refused(org: Org, path: str) -> None:
    media_type = f"multipart/form-data; boundary={BOUNDARY}"
    for stream in (b"", END):
        answer = environ(
            org, path, stream, CONTENT_LENGTH=str(len(stream)), CONTENT_TYPE=media_type
        )
        assert answer.status_code == (422 if stream else 400)


# --- cut, chunked, compressed, too large -----------------------------------------------------


@pytest.mark.parametrize("length", [0, 1, 100, len(CONTENT) - 1])
def test_a_cut_body_is_not_an_artifact(length: int, org: Org, path: str) -> None:
    before = stored(org), kept(org)
    answer = environ(org, f"{path}?name=a", CONTENT[:length], CONTENT_LENGTH=str(len(CONTENT)))
    problem(answer, 400, "malformed")
    data = encode_multipart(BOUNDARY, {"file": upload()})
    answer = environ(
        org, path, data[: len(data) * length // len(CONTENT)], CONTENT_LENGTH=str(len(data)),
        CONTENT_TYPE=f"multipart/form-data; boundary={BOUNDARY}",
    )  # fmt: skip
    problem(answer, 400, "malformed")
    assert (stored(org), kept(org)) == before


@pytest.mark.proves("artifact.whole")
def test_a_connection_that_breaks_leaves_nothing(org: Org, path: str) -> None:
    class Broken(BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            if self.tell() >= 500:
                raise OSError("connection reset")
            return super().read(min(size or 500, 500))

    before = stored(org), kept(org)
    for content_type in ("text/plain", f"multipart/form-data; boundary={BOUNDARY}"):
        data = encode_multipart(BOUNDARY, {"file": upload()})
        answer = environ(
            org, f"{path}?name=a", b"", CONTENT_LENGTH=str(len(data)), CONTENT_TYPE=content_type,
            **{"wsgi.input": Broken(data)},
        )  # fmt: skip
        problem(answer, 400, "malformed")
    assert (stored(org), kept(org)) == before


@pytest.mark.parametrize("media_type", ["text/plain", f"multipart/form-data; boundary={BOUNDARY}"])
def test_an_upload_says_its_length(media_type: str, org: Org, path: str) -> None:
    before = stored(org), kept(org)
    answer = environ(
        org, f"{path}?name=a", CONTENT, HTTP_TRANSFER_ENCODING="chunked", CONTENT_TYPE=media_type
    )
    problem(answer, 411, "length_required")
    for length in ("x", "-1", "1e3", "9" * 30, "\u0661"):
        answer = environ(
            org, f"{path}?name=a", CONTENT, CONTENT_LENGTH=length, CONTENT_TYPE=media_type
        )
        problem(answer, 400, "malformed")
    assert (stored(org), kept(org)) == before


def test_limits_of_the_profile() -> None:
    org = Org()
    profile = factories.profile(org, max_artifact_bytes=1000, max_artifacts=2)
    session = factories.running(org, factories.pending(org, profile))
    path = factories.path(session, "artifacts")
    before = stored(org), kept(org)
    problem(raw(org, path, data=b"x" * 1001), 413, "payload_too_large")
    problem(form(org, path, {"file": upload(b"x" * 1001)}), 413, "payload_too_large")
    problem(form(org, path, {"file": upload(b"x" * 2_000_000)}), 413, "payload_too_large")
    assert (stored(org), kept(org)) == before
    for _ in range(2):
        assert raw(org, path, data=b"x" * 1000).status_code == 201
    answer = raw(org, path, data=b"y")
    assert problem(answer, 409, "limit_reached")["limit"] == "max_artifacts"
    assert kept(org) == [hashlib.sha256(b"x" * 1000).hexdigest()]


def test_without_a_lease_nothing_is_read(org: Org) -> None:
    class Unread(BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            raise AssertionError("the body was read")

    path = factories.path(factories.pending(org), "artifacts")
    before = stored(org), kept(org)
    answer = environ(
        org, f"{path}?name=a", b"", CONTENT_LENGTH="1000000", **{"wsgi.input": Unread()}
    )
    problem(answer, 409, "not_leased")
    nobody = environ(
        org, f"{path}?name=a", b"", CONTENT_LENGTH="1000000", HTTP_AUTHORIZATION="Bearer x",
        **{"wsgi.input": Unread()},
    )  # fmt: skip
    problem(nobody, 401)
    assert (stored(org), kept(org)) == before


# --- a full disk -----------------------------------------------------------------------------


@pytest.mark.parametrize("call", ["write", "flush", "fsync", "replace", "mkstemp", "mkdir"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_an_answer(call: str, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    org = Org()
    path = factories.path(factories.running(org), "artifacts")
    before = stored(org), kept(org)
    with monkeypatch.context() as patch:
        _fill(patch, call, OSError(number, os.strerror(number)))
        problem(raw(org, path), 507, "insufficient_storage")
        problem(form(org, path), 507, "insufficient_storage")
    assert (stored(org), kept(org)) == before
    # It heals by itself.
    assert raw(org, path).status_code == 201


def _fill(patch: pytest.MonkeyPatch, call: str, error: OSError) -> None:
    def refuse(*args: Any, **kwargs: Any) -> Any:
        raise error

    if call in ("write", "flush"):
        plain = os.fdopen

        def fdopen(*args: Any, **kwargs: Any) -> Any:
            return _Full(plain(*args, **kwargs), call, error)

        patch.setattr(drafts.os, "fdopen", fdopen)
    elif call == "fsync":
        patch.setattr(file_store.os, "fsync", refuse)
    elif call == "mkstemp":
        patch.setattr(drafts.tempfile, "mkstemp", refuse)
    else:
        patch.setattr(Path, call, refuse)


class _Full:
    """A file on a full disk."""

    def __init__(self, file: Any, call: str, error: OSError) -> None:
        self._file, self._call, self._error = file, call, error

    def __getattr__(self, name: str) -> Any:
        if name == self._call:
            return self._refuse
        return getattr(self._file, name)

    def _refuse(self, *args: Any) -> Any:
        raise self._error


def test_a_session_token_uploads_and_downloads_its_own(org: Org) -> None:
    session = factories.running(org)
    path = factories.path(session, "artifacts")
    api: Api = factories.session_api(org, session)
    answer = api.request("POST", f"{path}?name=a", raw=b"x", **TEXT)
    assert answer.status_code == 201
    assert content(api.get(f"{path}/{answer.json()['id']}/content")) == b"x"
