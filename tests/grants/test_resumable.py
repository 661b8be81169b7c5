"""Uploads over several requests: an artifact when all of it is there, and nothing before."""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from django.db.models import F

from grants import artifacts, drafts, incoming_files, partials, resumable, storage
from grants.api import resumable_uploads
from grants.models import Artifact
from grants.partials import Appender
from grants.upload_models import Upload
from keeptrusts_runners import ids
from sessions.models import RunnerSession
from sessions.states import Verb
from tests import blobs, factories
from tests.blobs import each_store, s3_endpoint  # noqa: F401  (fixtures)
from tests.contract.calls import content, problem
from tests.factories import path, session_api
from tests.grants.resuming import append, begin, begun, cancel, forget, state
from tests.people import Org
from tests.races.threads import at_once
from tests.sessions import records, roads

CONTENT = os.urandom(300_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()

pytestmark = pytest.mark.usefixtures("each_store")


@pytest.fixture(scope="module")
def org() -> Org:
    made = Org()
    assert all((made.operator, made.runner, made.viewer))
    return made


@pytest.fixture(autouse=True)
def _uploads_end_with_the_test(org: Org) -> Iterator[None]:
    yield
    forget(org)


@pytest.fixture
def session(org: Org) -> RunnerSession:
    return factories.running(org)


@pytest.fixture
def api(org: Org, session: RunnerSession) -> Any:
    return session_api(org, session)


def listed(org: Org, session: RunnerSession) -> list[Any]:
    return list(org.viewer.api.get(path(session, "artifacts")).json()["items"])


@pytest.mark.proves("artifact.resumed")
def test_an_upload_in_parts_becomes_the_artifact_it_was_said_to_be(
    org: Org, session: RunnerSession, api: Any
) -> None:
    made = begin(api, session, query="&kind=bundle", **{"Upload-Length": len(CONTENT)})
    upload = made.json()["id"]
    assert made["Location"] == "/v1" + path(session, "artifacts", upload, "content")
    assert made.json()["status"] == "uploading"
    assert "max-size=" in made["Upload-Limit"]
    first = append(api, session, upload, CONTENT[:100_000], 0)
    assert (first.status_code, first["Upload-Offset"]) == (200, "100000")
    assert first["Upload-Complete"] == "?0"
    said = state(api, session, upload)
    assert (said.status_code, said["Upload-Offset"], said["Upload-Length"]) == (
        204, "100000", "300000",
    )  # fmt: skip
    assert said["Cache-Control"] == "no-store"
    last = append(api, session, upload, CONTENT[100_000:], 100_000, complete=True)
    assert (last.status_code, last["Upload-Complete"]) == (200, "?1")
    document = last.json()
    assert (document["id"], document["status"]) == (upload, "stored")
    assert (document["sha256"], document["kind"]) == (SHA256, "bundle")
    assert content(org.viewer.api.get(path(session, "artifacts", upload, "content"))) == CONTENT
    done = state(api, session, upload)
    assert (done.status_code, done["Upload-Complete"], done["Upload-Offset"]) == (
        200, "?1", "300000",
    )  # fmt: skip
    assert records.last(org, session, "artifact.stored").data["sha256"] == SHA256
    assert blobs.drafts() == []
    records.assert_sound(org, session)


@pytest.mark.proves("artifact.resumed")
def test_what_is_uploading_is_never_served_and_not_listed(
    org: Org, session: RunnerSession, api: Any
) -> None:
    upload = begun(api, session, CONTENT)
    assert listed(org, session) == []
    shown = org.viewer.api.get(path(session, "artifacts", upload)).json()
    assert (shown["status"], shown["upload"]["offset"]) == ("uploading", len(CONTENT))
    refused = org.viewer.api.get(path(session, "artifacts", upload, "content"))
    assert problem(refused, 409, "artifact_not_stored")["artifact_status"] == "uploading"
    assert cancel(api, session, upload).status_code == 204
    assert blobs.drafts() == []
    for answer in (
        cancel(api, session, upload),
        append(api, session, upload, b"x", 0),
        org.viewer.api.get(path(session, "artifacts", upload)),
    ):
        problem(answer, 404, "not_found")


def test_a_wrong_offset_is_told_the_right_one(session: RunnerSession, api: Any) -> None:
    upload = begun(api, session, CONTENT[:1000])
    for offset in (0, 999, 1001):
        answer = append(api, session, upload, b"x", offset)
        document = problem(answer, 409, "upload_offset_mismatch")
        assert document["type"].endswith("#mismatching-upload-offset")
        assert (document["expected-offset"], document["provided-offset"]) == (1000, offset)
        assert answer["Upload-Offset"] == "1000"
    assert append(api, session, upload, b"x", 1000).status_code == 200


@pytest.mark.proves("artifact.resumed")
def test_of_two_that_go_on_from_the_same_place_one_wins(
    org: Org, session: RunnerSession, api: Any
) -> None:
    for _ in range(5):
        upload = begun(api, session, **{"Upload-Length": len(CONTENT)})
        ends = partial(append, api, session, upload, CONTENT, 0, complete=True)
        answers = at_once([ends, ends, ends])
        statuses = sorted(answer.status_code for answer in answers)
        assert statuses[0] == 200
        assert statuses[1:] == [409, 409]
        shown = org.viewer.api.get(path(session, "artifacts", upload)).json()
        assert (shown["status"], shown["sha256"]) == ("stored", SHA256)
    assert blobs.drafts() == []
    records.assert_sound(org, session)


@pytest.mark.proves("artifact.resumed")
@pytest.mark.parametrize("sealed", [True, False])
def test_who_is_overtaken_by_the_last_request_is_told_where_the_upload_stands(
    session: RunnerSession, api: Any, monkeypatch: pytest.MonkeyPatch, sealed: bool
) -> None:
    """A client that gave up a request sends it again, while the server is still at the first."""
    upload = begun(api, session, CONTENT[:1000], **{"Upload-Length": len(CONTENT)})
    last = partial(append, api, session, upload, CONTENT[1000:], 1000, complete=True)

    def gone(*_: Any) -> None:
        raise SystemExit

    def first(*given: Any) -> Appender:
        with monkeypatch.context() as patch:
            patch.setattr(resumable_uploads, "Appender", Appender)
            if sealed:
                assert last().status_code == 200
            else:
                patch.setattr(resumable, "seal", gone)
                with pytest.raises(SystemExit):
                    last()
        return Appender(*given)

    with monkeypatch.context() as patch:
        patch.setattr(resumable_uploads, "Appender", first)
        answer = last()
    if sealed:
        assert problem(answer, 409, "upload_completed")["artifact_id"] == upload
    else:
        document = problem(answer, 409, "upload_offset_mismatch")
        assert document["expected-offset"] == len(CONTENT)
    done = append(api, session, upload, b"", len(CONTENT), complete=True)
    assert done.status_code == (409 if sealed else 200)
    assert state(api, session, upload)["Upload-Complete"] == "?1"
    assert blobs.drafts() == []


def test_a_complete_upload_takes_nothing_more(session: RunnerSession, api: Any) -> None:
    upload = begun(api, session)
    assert append(api, session, upload, b"all", 0, complete=True).status_code == 200
    for answer in (
        append(api, session, upload, b"", 3, complete=True),
        append(api, session, upload, b"more", 3),
        cancel(api, session, upload),
    ):
        document = problem(answer, 409, "upload_completed")
        assert (document["artifact_id"], answer["Upload-Complete"]) == (upload, "?1")
        assert document["type"].endswith("#completed-upload")


def test_lengths_that_contradict_are_refused_and_harm_nothing(
    session: RunnerSession, api: Any
) -> None:
    upload = begun(api, session, **{"Upload-Length": 10})
    for raw, complete, headers in (
        (b"x" * 11, False, {}),
        (b"x" * 9, True, {}),
        (b"x", False, {"Upload-Length": "11"}),
    ):
        answer = append(api, session, upload, raw, 0, complete=complete, **headers)
        assert problem(answer, 400, "upload_length_inconsistent")["length_bytes"] == 10
    assert append(api, session, upload, b"x" * 10, 0, complete=True).status_code == 200


def test_a_length_may_come_later(session: RunnerSession, api: Any) -> None:
    upload = begun(api, session, b"12345")
    answer = append(api, session, upload, b"", 5, **{"Upload-Length": "7"})
    assert answer.json()["upload"]["length"] == 7
    problem(append(api, session, upload, b"678", 5), 400, "upload_length_inconsistent")
    assert append(api, session, upload, b"67", 5, complete=True).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [{"Upload-Offset": ""}, {"Upload-Offset": "-1"}, {"Upload-Offset": "0.0"},
     {"Upload-Offset": "9" * 16}, {"Upload-Complete": ""}, {"Upload-Complete": "true"},
     {"Upload-Complete": "?2"}],
)  # fmt: skip
def test_headers_that_are_none_count_as_left_out(
    session: RunnerSession, api: Any, headers: dict[str, str]
) -> None:
    upload = begun(api, session)
    problem(append(api, session, upload, b"x", 0, **headers), 400, "malformed")


def test_another_media_type_is_refused(session: RunnerSession, api: Any) -> None:
    upload = begun(api, session)
    answer = append(api, session, upload, b"x", 0, **{"Content-Type": "text/plain"})
    problem(answer, 415, "unsupported_media_type")
    assert answer["Accept-Patch"] == "application/partial-upload"
    answer = begin(api, session, b"x", **{"Content-Type": "multipart/form-data; boundary=b"})
    problem(answer, 415, "unsupported_media_type")


# --- digests ---------------------------------------------------------------------------------


def test_a_part_that_is_not_what_its_digest_says_is_taken_back(
    session: RunnerSession, api: Any
) -> None:
    upload = begun(api, session, b"first")
    wrong = f"sha-256=:{base64.b64encode(hashlib.sha256(b'other').digest()).decode()}:"
    answer = append(api, session, upload, b"again", 5, **{"Content-Digest": wrong})
    problem(answer, 422, "digest_mismatch")
    assert state(api, session, upload)["Upload-Offset"] == "5"
    right = f"sha-256=:{base64.b64encode(hashlib.sha256(b'other').digest()).decode()}:"
    answer = append(api, session, upload, b"other", 5, complete=True, **{"Content-Digest": right})
    assert answer.json()["sha256"] == hashlib.sha256(b"firstother").hexdigest()


def test_other_bytes_than_were_announced_end_the_upload(
    org: Org, session: RunnerSession, api: Any
) -> None:
    upload = begin(api, session, b"a", query=f"&sha256={SHA256}").json()["id"]
    answer = append(api, session, upload, b"b", 1, complete=True)
    problem(answer, 422, "digest_mismatch")
    assert answer["Upload-Complete"] == "?1"
    assert (listed(org, session), blobs.drafts()) == ([], [])
    problem(append(api, session, upload, b"c", 1), 404)
    again = begin(api, session, CONTENT, query=f"&sha256={SHA256}").json()["id"]
    assert append(api, session, again, b"", len(CONTENT), complete=True).status_code == 200


# --- leases and limits -----------------------------------------------------------------------


@pytest.mark.proves("artifact.resumed")
def test_an_upload_ends_with_the_lease_that_it_was_begun_under(
    org: Org, session: RunnerSession, api: Any
) -> None:
    upload = begun(api, session, CONTENT)
    roads.end(org, session, Verb.COMPLETE)
    answer = append(api, session, upload, b"", len(CONTENT), complete=True)
    problem(answer, 409, "lease_lost")
    assert listed(org, session) == []
    assert incoming_files.collect()["uploads_removed"] >= 1
    assert blobs.drafts() == []


def test_a_new_attempt_cannot_end_the_upload_of_the_last(org: Org) -> None:
    on = factories.profile(org, max_attempts=3)
    session = factories.running(org, factories.pending(org, on))
    upload = begun(session_api(org, session), session, b"old")
    with org.scope():
        RunnerSession.objects.filter(id=session.id).update(lease_epoch=F("lease_epoch") + 1)
        session.refresh_from_db()
    answer = append(session_api(org, session), session, upload, b"new", 3, complete=True)
    assert problem(answer, 409, "lease_lost")["named_epoch"] == 1


@pytest.mark.proves("artifact.resumed")
def test_a_lease_that_ends_while_the_last_bytes_come_leaves_no_artifact(
    org: Org, session: RunnerSession, api: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload = begun(api, session)
    kind = type(storage.store())
    put = kind.put

    def ended_meanwhile(*given: Any) -> None:
        roads.end(org, session, Verb.COMPLETE)
        put(*given)

    monkeypatch.setattr(kind, "put", ended_meanwhile)
    answer = append(api, session, upload, b"all", 0, complete=True)
    problem(answer, 409)
    with org.scope():
        assert not Artifact.objects.filter(session_id=session.id).exists()


def test_limits_hold_for_uploads_too(org: Org) -> None:
    on = factories.profile(org, max_artifact_bytes=1000, max_artifacts=1)
    session = factories.running(org, factories.pending(org, on))
    api = session_api(org, session)
    problem(begin(api, session, **{"Upload-Length": 1001}), 413, "payload_too_large")
    upload, other = begun(api, session), begun(api, session)
    answer = append(api, session, upload, b"x" * 1001, 0)
    assert problem(answer, 413, "payload_too_large")["limit_bytes"] == 1000
    assert "max-size=1000" in answer["Upload-Limit"]
    assert append(api, session, upload, b"x" * 1000, 0, complete=True).status_code == 200
    refused = append(api, session, other, b"x", 0, complete=True)
    assert problem(refused, 409, "limit_reached")["limit"] == "max_artifacts"
    problem(begin(api, session), 409, "limit_reached")


def test_so_many_uploads_are_open_at_a_time(
    session: RunnerSession, api: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resumable, "MAX_OPEN", 2)
    first = begun(api, session)
    begun(api, session)
    answer = begin(api, session)
    assert problem(answer, 409, "limit_reached")["limit"] == "open_uploads"
    cancel(api, session, first)
    begun(api, session)


def test_who_may_not(org: Org, session: RunnerSession, api: Any) -> None:
    upload = begun(api, session, b"x")
    other = factories.running(org)
    problem(append(org.viewer.api, session, upload, b"x", 1), 403, "missing_scope")
    problem(append(org.machine().api, session, upload, b"x", 1), 403, "not_lease_holder")
    problem(append(Org().runner.api, session, upload, b"x", 1), 404, "not_found")
    problem(append(session_api(org, other), session, upload, b"x", 1), 403, "outside_session")
    problem(append(session_api(org, other), other, upload, b"x", 1), 404, "not_found")
    problem(cancel(org.viewer.api, session, upload), 403, "missing_scope")
    assert state(org.viewer.api, session, upload).status_code == 204
    assert state(Org().viewer.api, session, upload).status_code == 404


def test_an_upload_that_is_begun_again_with_its_key_is_one(
    session: RunnerSession, api: Any
) -> None:
    given = {"Idempotency-Key": ids.new().hex, "Upload-Length": 10}
    first = begin(api, session, b"12345", **given)
    again = begin(api, session, b"12345", **given)
    assert (first.json()["id"], again["Idempotent-Replayed"]) == (again.json()["id"], "true")
    assert state(api, session, first.json()["id"])["Upload-Offset"] == "5"
    other = begin(api, session, b"", **{**given, "Upload-Length": 11})
    problem(other, 422, "idempotency_key_reused")


# --- crashes and leftovers -------------------------------------------------------------------


@pytest.mark.proves("artifact.resumed")
def test_a_process_that_died_after_the_bytes_were_placed_lost_nothing(
    org: Org, session: RunnerSession, api: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed between rename and commit: HEAD says that all is here, and an empty last request
    makes the row."""
    upload = begun(api, session)

    def killed(*_: Any) -> None:
        raise SystemExit

    with monkeypatch.context() as patch:
        patch.setattr(resumable, "seal", killed)
        with pytest.raises(SystemExit):
            append(api, session, upload, CONTENT, 0, complete=True)
    assert listed(org, session) == []
    assert state(api, session, upload)["Upload-Offset"] == str(len(CONTENT))
    done = append(api, session, upload, b"", len(CONTENT), complete=True)
    assert (done.status_code, done.json()["sha256"]) == (200, SHA256)
    assert content(org.viewer.api.get(path(session, "artifacts", upload, "content"))) == CONTENT


def test_bytes_that_were_acknowledged_and_are_gone_end_the_upload(
    org: Org, session: RunnerSession, api: Any
) -> None:
    upload = begun(api, session, CONTENT)
    partials.discard(ids.decode("art", upload))
    for answer in (
        append(api, session, upload, b"x", len(CONTENT)),
        org.viewer.api.get(path(session, "artifacts", upload)),
    ):
        problem(answer, 410, "upload_lost")
    assert state(api, session, upload).status_code == 410
    assert cancel(api, session, upload).status_code == 204


@pytest.mark.proves("artifact.collected")
def test_uploads_that_nobody_goes_on_with_are_collected(
    org: Org, session: RunnerSession, api: Any
) -> None:
    upload, other = begun(api, session, CONTENT), begun(api, session, b"goes on")
    with org.scope():
        Upload.objects.filter(id=ids.decode("art", upload)).update(
            expires_at=F("expires_at") - timedelta(days=2)
        )
    incoming_files.collect()
    problem(append(api, session, upload, b"x", len(CONTENT)), 404, "not_found")
    assert partials.size_of(ids.decode("art", upload)) is None
    assert append(api, session, other, b"x", 7).status_code == 200


@pytest.mark.proves("artifact.collected")
def test_files_of_dead_processes_are_collected_and_of_living_ones_not(
    org: Org, session: RunnerSession, api: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(incoming_files, "YOUNG_SECONDS", -60)
    place = drafts.incoming()
    (place / "tmpleft").write_bytes(b"x")
    (place / f"{ids.new().hex}.part").write_bytes(b"x")
    upload = begun(api, session, b"goes on")
    with drafts.Draft(org.id, 100) as living:
        living.write(b"x")
        incoming_files.collect()
        assert len(blobs.drafts()) == 2
        artifacts.keep(living)
    assert append(api, session, upload, b"x", 7).status_code == 200
    cancel(api, session, upload)
    assert blobs.drafts() == []
