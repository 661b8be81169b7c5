"""Artifacts: bytes first, then the row with its record; whole, or not there at all."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from django.conf import settings

from grants import artifacts, drafts, file_store, storage
from grants.models import Artifact
from keeptrusts_runners import ids
from keeptrusts_runners.errors import Invalid, PayloadTooLarge
from sessions.models import RunnerSession
from sessions.states import Verb
from tests import blobs, factories
from tests.blobs import each_store, s3_endpoint  # noqa: F401  (fixtures)
from tests.factories import path, session_api
from tests.people import Api, Org
from tests.races.threads import at_once
from tests.sessions import records, roads

pytestmark = pytest.mark.usefixtures("each_store")


@pytest.fixture(scope="module")
def org() -> Org:
    return Org()


def upload(api: Api, session: RunnerSession, content: bytes = b"bytes", **headers: str) -> Any:
    place = f"{path(session, 'artifacts')}?name=out.log&kind=log"
    given = {"Content-Type": "text/plain"} | headers
    return api.request("POST", place, raw=content, **given)


def listed(org: Org, session: RunnerSession) -> list[dict[str, Any]]:
    return list(org.viewer.api.get(path(session, "artifacts")).json()["items"])


def files(org: Org) -> set[str]:
    """Everything that is stored of the organization, and whatever is left of what came in."""
    return {*blobs.kept(org.id), *(draft.name for draft in blobs.drafts())}


def content_of(org: Org, session: RunnerSession, artifact: dict[str, Any]) -> bytes:
    answer = org.viewer.api.get(path(session, "artifacts", artifact["id"], "content"))
    assert answer.status_code == 200, answer
    return b"".join(answer.streaming_content)


def test_an_artifact_is_stored_by_its_digest_and_recorded_with_it(org: Org) -> None:
    session = factories.running(org)
    content = os.urandom(700_000)
    made = upload(session_api(org, session), session, content).json()
    assert made["sha256"] == hashlib.sha256(content).hexdigest()
    assert (made["size_bytes"], made["lease_epoch"]) == (len(content), 1)
    assert content_of(org, session, made) == content
    assert made["sha256"] in files(org)
    recorded = records.last(org, session, "artifact.stored")
    assert recorded.data["sha256"] == made["sha256"]
    assert recorded.data["artifact_id"] == made["id"]
    records.assert_sound(org, session)


def test_the_same_bytes_are_stored_once_for_each_organization(org: Org) -> None:
    content, other = b"the same", Org()
    for somewhere in (org, org, other):
        session = factories.running(somewhere)
        made = upload(session_api(somewhere, session), session, content).json()
        assert content_of(somewhere, session, made) == content
    digest = hashlib.sha256(content).hexdigest()
    assert blobs.kept(org.id).count(digest) == 1
    assert blobs.kept(other.id) == [digest]


def test_a_name_is_text_and_never_a_path(org: Org) -> None:
    session = factories.running(org)
    token = session_api(org, session)
    before = files(org)
    for name in ("../../etc/passwd", "/etc/passwd", "..", "a/b.log", "C:\\x", "ünï 漢🙂.log"):
        place = path(session, "artifacts")
        body = (
            b'--b\r\nContent-Disposition: form-data; name="name"\r\n\r\n%s\r\n--b\r\n'
            b'Content-Disposition: form-data; name="file"; filename="f"\r\n\r\nbytes\r\n--b--\r\n'
        )
        answer = token.request(
            "POST", place, raw=body % name.encode(),
            **{"Content-Type": "multipart/form-data; boundary=b"},
        )  # fmt: skip
        assert answer.status_code == 201, answer.content
        assert answer.json()["name"] == name
    assert files(org) - before <= {hashlib.sha256(b"bytes").hexdigest()}


@pytest.mark.parametrize(
    ("name", "kind", "media_type", "field"),
    [
        ("", "log", "text/plain", "/name"),
        (" ", "log", "text/plain", "/name"),
        ("x" * 256, "log", "text/plain", "/name"),
        ("a\nb", "log", "text/plain", "/name"),
        ("\u202egpj.exe", "log", "text/plain", "/name"),
        ("a", "Log", "text/plain", "/kind"),
        ("a", "", "text/plain", "/kind"),
        ("a", "log", "text", "/media_type"),
        ("a", "log", "text/plain\r\nx", "/media_type"),
    ],
)
def test_what_describes_an_artifact_is_checked(
    name: str, kind: str, media_type: str, field: str
) -> None:
    with pytest.raises(Invalid) as refusal:
        artifacts.describe(name, kind, media_type)
    assert [error.pointer for error in refusal.value.errors] == [field]


# --- whole or not at all ---------------------------------------------------------------------


def test_other_bytes_than_were_announced_leave_nothing(org: Org) -> None:
    session = factories.running(org)
    before = files(org)
    announced = f"sha-256=:{'A' * 43}=:"
    answer = upload(session_api(org, session), session, b"others", **{"Content-Digest": announced})
    assert (answer.status_code, answer.json()["code"]) == (422, "digest_mismatch")
    assert (listed(org, session), files(org)) == ([], before)


def test_a_profiles_limits_leave_nothing_over(org: Org) -> None:
    on = factories.profile(org, max_artifact_bytes=1000, max_artifacts=2)
    session = factories.running(org, factories.pending(org, on))
    token = session_api(org, session)
    before = files(org)
    answer = upload(token, session, b"x" * 1001)
    assert (answer.status_code, answer.json()["limit_bytes"]) == (413, 1000)
    assert (listed(org, session), files(org)) == ([], before)
    for _ in range(2):
        assert upload(token, session, b"x" * 1000).status_code == 201
    full = upload(token, session)
    assert (full.status_code, full.json()["limit"]) == (409, "max_artifacts")


def test_a_limit_holds_for_uploads_at_the_same_time(org: Org) -> None:
    on = factories.profile(org, max_artifacts=3)
    session = factories.running(org, factories.pending(org, on))
    token = session_api(org, session)
    answers = at_once([partial(upload, token, session, bytes([n])) for n in range(8)])
    assert sorted(answer.status_code for answer in answers) == [201] * 3 + [409] * 5
    assert len(listed(org, session)) == 3
    records.assert_sound(org, session)


@pytest.mark.proves("artifact.whole")
def test_a_lease_that_ends_while_the_bytes_come_leaves_no_artifact(
    org: Org, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = factories.running(org)
    token = session_api(org, session)
    store = drafts.Draft.store

    def ended_meanwhile(draft: drafts.Draft) -> storage.Blob:
        roads.end(org, session, Verb.COMPLETE)
        return store(draft)

    monkeypatch.setattr(drafts.Draft, "store", ended_meanwhile)
    answer = upload(token, session)
    assert (answer.status_code, answer.json()["code"]) == (409, "lease_lost")
    with org.scope():
        assert not Artifact.objects.filter(session_id=session.id).exists()
    records.assert_sound(org, session)


@pytest.mark.parametrize("when", ["fsync", "replace"])
def test_a_full_disk_is_said_and_leaves_nothing(
    org: Org, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    monkeypatch.setattr(settings, "ARTIFACTS", "file")
    session = factories.running(org)
    before = files(org)

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "no room")

    with monkeypatch.context() as patch:
        patch.setattr(file_store.os if when == "fsync" else Path, when, full)
        answer = upload(session_api(org, session), session, b"nowhere to go")
    assert (answer.status_code, answer.json()["code"]) == (507, "insufficient_storage")
    assert (listed(org, session), files(org)) == ([], before)
    assert upload(session_api(org, session), session, b"nowhere to go").status_code == 201


def receive(organization: UUID, chunks: Iterable[bytes], most: int = 1000) -> storage.Blob:
    with drafts.Draft(organization, most) as draft:
        for chunk in chunks:
            draft.write(chunk)
        return draft.store()


@pytest.mark.proves("artifact.whole")
def test_a_stream_that_breaks_off_leaves_nothing(org: Org) -> None:
    before = files(org)

    def broken() -> Iterator[bytes]:
        yield b"some"
        raise ConnectionError("the client went away")

    with pytest.raises(ConnectionError):
        receive(org.id, broken())
    with pytest.raises(PayloadTooLarge):
        receive(org.id, [b"x" * 600, b"x" * 600])
    assert files(org) == before


def test_a_new_directory_is_as_durable_as_the_file_in_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A synced file in a directory whose own name is not synced is gone after a power failure."""
    monkeypatch.setattr(settings, "ARTIFACTS", "file")
    monkeypatch.setattr(settings, "ARTIFACTS_DIR", tmp_path)
    synced: list[Path] = []
    monkeypatch.setattr(file_store, "sync_directory", synced.append)
    organization = ids.new()
    place = blobs.path_of(organization, receive(organization, [b"bytes"]).sha256)
    assert set(synced) >= {place.parent, place.parent.parent, tmp_path}


# --- not yours -------------------------------------------------------------------------------


def test_an_artifact_is_found_in_its_own_session_and_organization_only(org: Org) -> None:
    session, other = factories.running(org), factories.running(org)
    made = upload(session_api(org, session), session).json()
    for api, where in ((org.viewer.api, other), (Org().viewer.api, session)):
        for more in ((), ("content",)):
            answer = api.get(path(where, "artifacts", made["id"], *more))
            assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
