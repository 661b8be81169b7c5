"""Uploads that go to the store itself: an artifact once it was read back, and nothing before."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from datetime import timedelta
from http.client import HTTPConnection
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from django.conf import settings
from django.db.models import F

from grants import direct, incoming_files, integrity, readback, storage
from grants.artifact_models import StorageUsage
from grants.readback import Readback
from grants.upload_models import Upload
from keeptrusts_runners import ids
from keeptrusts_runners.errors import StorageUnavailable
from keeptrusts_runners.evidence.audit_models import AuditRecord
from profiles.models import RunnerProfile
from sessions.models import RunnerSession
from sessions.states import Verb
from tests import blobs, factories
from tests.blobs import s3_endpoint  # noqa: F401  (a fixture)
from tests.contract.calls import content, problem
from tests.factories import path, session_api
from tests.grants.resuming import append, begun, forget
from tests.people import Org
from tests.sessions import records, roads

# Two parts, of which only the last may be smaller than 5 MiB.
PART = 5 << 20
CONTENT = os.urandom(PART + 70_000)


@pytest.fixture(scope="module", autouse=True)
def _a_service(s3_endpoint: str) -> Iterator[None]:  # noqa: F811
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(settings, "ARTIFACTS", "s3://artifacts/tests")
        patch.setattr(settings, "S3_ENDPOINT", s3_endpoint)
        patch.setattr(direct, "PART_BYTES", PART)
        yield


@pytest.fixture(scope="module")
def org() -> Org:
    made = Org()
    assert all((made.operator, made.runner, made.viewer, made.auditor))
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


def said(raw: bytes = CONTENT, **other: Any) -> dict[str, Any]:
    digest = hashlib.sha256(raw).hexdigest()
    return {"name": "big.bin", "size_bytes": len(raw), "sha256": digest} | other


def begin(api: Any, session: RunnerSession, body: dict[str, Any], **headers: str) -> Any:
    return api.post(path(session, "artifacts", "direct"), body, **headers)


def started(api: Any, session: RunnerSession, body: dict[str, Any]) -> dict[str, Any]:
    answer = begin(api, session, body)
    assert answer.status_code == 201, answer.content
    return dict(answer.json())


def put(url: str, raw: bytes) -> int:
    """As any sender does: no client, no credentials."""
    to = urlsplit(url)
    connection = HTTPConnection(to.netloc, timeout=10)
    connection.request("PUT", f"{to.path}?{to.query}", body=raw)
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer.status


def send(parts: list[dict[str, Any]], raw: bytes) -> None:
    for part in parts:
        start = (part["number"] - 1) * PART
        assert put(part["url"], raw[start : start + part["size_bytes"]]) == 200


def complete(api: Any, session: RunnerSession, upload: str) -> Any:
    return api.post(path(session, "artifacts", upload, "complete"))


def sent(api: Any, session: RunnerSession, raw: bytes = CONTENT, **other: Any) -> str:
    """The id of an upload that waits to be read back."""
    made = started(api, session, said(raw, **other))
    send(made["parts"], raw)
    answer = complete(api, session, made["id"])
    assert (answer.status_code, answer.json()["status"]) == (202, "verifying"), answer.content
    return str(made["id"])


def read_back() -> None:
    """Until a round finds nothing that can be read."""
    work = Readback()
    while work.run()["bytes"]:
        pass


def shown(org: Org, session: RunnerSession, artifact: str) -> Any:
    return org.viewer.api.get(path(session, "artifacts", artifact))


def stored_bytes(org: Org, session: RunnerSession) -> int:
    with org.scope():
        return sum(
            StorageUsage.objects.filter(owner_id=session.id).values_list("size_bytes", flat=True)
        )


@pytest.mark.proves("artifact.direct")
def test_bytes_that_never_passed_the_server_become_an_artifact_once_read_back(
    org: Org, session: RunnerSession, api: Any
) -> None:
    made = started(api, session, said(media_type="application/x-tar", kind="bundle"))
    assert (made["status"], made["upload"]["part_size_bytes"]) == ("uploading", PART)
    assert [part["size_bytes"] for part in made["parts"]] == [PART, 70_000]
    assert made["next_number"] is None
    send(made["parts"], CONTENT)
    answer = complete(api, session, made["id"])
    assert (answer.status_code, answer.json()["status"]) == (202, "verifying")
    assert answer.json()["digest_source"] == "client"
    # Seen by whoever has its id; no artifact yet, and never served.
    assert org.viewer.api.get(path(session, "artifacts")).json()["items"] == []
    place = path(session, "artifacts", made["id"], "content")
    refused = problem(org.viewer.api.get(place), 409, "artifact_not_stored")
    assert refused["artifact_status"] == "verifying"
    assert "artifact.stored" not in records.kinds(org, session)
    read_back()
    artifact = shown(org, session, made["id"]).json()
    assert (artifact["status"], artifact["digest_source"]) == ("stored", "server")
    assert (artifact["size_bytes"], artifact["upload"]) == (len(CONTENT), None)
    assert artifact["created_by"] == answer.json()["created_by"]
    assert content(org.viewer.api.get(place)) == CONTENT
    assert records.kinds(org, session)[-1] == "artifact.stored"
    assert blobs.kept(org.id).count(said()["sha256"]) == 1
    # Nothing of the upload is left beside it.
    assert not [name for name in blobs.kept(org.id) if len(name) == 32]
    with org.scope():
        assert not Upload.objects.exists()
    problem(complete(api, session, made["id"]), 409, "upload_completed")


@pytest.mark.proves("artifact.direct")
def test_a_wrong_byte_is_not_stored_and_never_served(
    org: Org, session: RunnerSession, api: Any
) -> None:
    made = started(api, session, said())
    send(made["parts"], CONTENT[:-1] + bytes([CONTENT[-1] ^ 1]))
    assert complete(api, session, made["id"]).status_code == 202
    read_back()
    assert shown(org, session, made["id"]).json()["status"] == "broken"
    problem(
        org.viewer.api.get(path(session, "artifacts", made["id"], "content")),
        409, "artifact_not_stored",
    )  # fmt: skip
    assert org.viewer.api.get(path(session, "artifacts")).json()["items"] == []
    told = problem(complete(api, session, made["id"]), 422, "digest_mismatch")
    assert told["received"] != told["announced"] == said()["sha256"]
    last = records.last(org, session, "artifact.refused")
    assert last.data["reason"] == "digest_mismatch"
    assert blobs.kept(org.id).count(ids.decode("art", made["id"]).hex) == 0
    assert stored_bytes(org, session) == 0


@pytest.mark.proves("artifact.direct")
def test_naming_the_digest_of_anothers_bytes_gives_nobody_those(
    org: Org, session: RunnerSession, api: Any
) -> None:
    secret = os.urandom(1000)
    other = factories.running(org)
    owner = sent(session_api(org, other), other, secret)
    read_back()
    made = started(api, session, said(secret))
    send(made["parts"], bytes(1000))
    assert complete(api, session, made["id"]).status_code == 202
    read_back()
    assert shown(org, session, made["id"]).json()["status"] == "broken"
    digest = said(secret)["sha256"]
    with org.scope():
        integrity.settle(
            org.id, digest, integrity.Finding(integrity.ArtifactStatus.STORED, digest, 1000),
            by=org.operator.principal,
        )  # fmt: skip
    assert shown(org, session, made["id"]).json()["status"] == "broken"
    place = path(other, "artifacts", owner, "content")
    assert content(org.viewer.api.get(place)) == secret


@pytest.mark.proves("artifact.direct")
def test_what_is_not_all_there_is_not_completed(org: Org, session: RunnerSession, api: Any) -> None:
    made = started(api, session, said())
    send(made["parts"][:1], CONTENT)
    told = problem(complete(api, session, made["id"]), 409, "upload_incomplete")
    assert told["missing"] == [2]
    again = api.post(path(session, "artifacts", made["id"], "parts"), {"first": 2})
    assert again.status_code == 200
    send(again.json()["parts"], CONTENT)
    assert complete(api, session, made["id"]).status_code == 202
    problem(api.post(path(session, "artifacts", made["id"], "parts")), 409, "upload_completed")


def test_addresses_come_page_by_page_and_sign_the_length(session: RunnerSession, api: Any) -> None:
    made = started(api, session, said(size_bytes=150 * PART))
    assert ([p["number"] for p in made["parts"]], made["next_number"]) == (
        list(range(1, 101)), 101,
    )  # fmt: skip
    place = path(session, "artifacts", made["id"], "parts")
    last = api.post(place, {"first": 121, "count": 1000}).json()
    assert ([p["number"] for p in last["parts"]], last["next_number"]) == (
        list(range(121, 151)), None,
    )  # fmt: skip
    query = parse_qs(urlsplit(made["parts"][0]["url"]).query)
    assert query["X-Amz-SignedHeaders"] == ["content-length;host"]
    assert query["X-Amz-Expires"] == [str(direct.ADDRESS_SECONDS)]


@pytest.mark.proves("artifact.direct")
def test_an_answer_that_was_lost_costs_nothing(org: Org, session: RunnerSession, api: Any) -> None:
    first = begin(api, session, said(), Idempotency_Key="once")
    again = problem(begin(api, session, said(), Idempotency_Key="once"), 409, "already_created")
    assert again["id"] == first.json()["id"]
    place = path(session, "artifacts", again["id"], "parts")
    send(api.post(place).json()["parts"], CONTENT)
    for _ in range(2):
        assert complete(api, session, again["id"]).status_code == 202
    # The store completed, and this server died before it knew.
    with org.scope():
        Upload.objects.update(completed_at=None)
    assert complete(api, session, again["id"]).status_code == 202
    read_back()
    assert shown(org, session, again["id"]).json()["status"] == "stored"


@pytest.mark.proves("artifact.direct", "artifact.usage")
def test_room_is_taken_when_an_upload_begins_and_given_back_when_it_ends(org: Org) -> None:
    on = factories.profile(org, max_stored_bytes=150)
    session = factories.running(org, factories.pending(org, on))
    api = session_api(org, session)
    made = started(api, session, said(bytes(100)))
    told = problem(begin(api, session, said(b"x" * 51)), 409, "limit_reached")
    assert told["limit"] == "max_stored_bytes"
    problem(api.request("POST", f"{path(session, 'artifacts')}?name=a", raw=b"y" * 51),
            409, "limit_reached")  # fmt: skip
    assert stored_bytes(org, session) == 100
    assert api.delete(path(session, "artifacts", made["id"], "content")).status_code == 204
    assert stored_bytes(org, session) == 0
    assert put(made["parts"][0]["url"], bytes(100)) >= 400
    kept = sent(api, session, b"x" * 51)
    read_back()
    assert shown(org, session, kept).json()["status"] == "stored"
    assert stored_bytes(org, session) == 51


@pytest.mark.proves("artifact.direct")
def test_a_session_that_ends_first_has_no_such_artifact_and_its_chain_no_such_record(
    org: Org, session: RunnerSession, api: Any
) -> None:
    waiting, open_one = sent(api, session), started(api, session, said(b"open"))
    roads.end(org, session, Verb.COMPLETE)
    before = records.kinds(org, session)
    read_back()
    assert records.kinds(org, session) == before
    problem(complete(api, session, open_one["id"]), 409, "lease_lost")
    incoming_files.collect()
    for each in (waiting, open_one["id"]):
        problem(shown(org, session, each), 404, "not_found")
    assert stored_bytes(org, session) == 0
    assert put(open_one["parts"][0]["url"], b"open") >= 400
    assert ids.decode("art", waiting).hex not in blobs.kept(org.id)
    with org.scope():
        told = AuditRecord.objects.filter(object=waiting, verb="artifact.discarded")
        assert told.count() == 1


@pytest.mark.proves("artifact.direct", "artifact.collected")
def test_an_upload_that_nobody_goes_on_with_is_aborted(
    org: Org, session: RunnerSession, api: Any
) -> None:
    made = started(api, session, said(b"left"))
    with org.scope():
        Upload.objects.update(expires_at=F("expires_at") - timedelta(days=2))
    assert incoming_files.collect()["uploads_removed"] == 1
    assert put(made["parts"][0]["url"], b"left") >= 400
    assert stored_bytes(org, session) == 0


@pytest.mark.proves("artifact.direct")
def test_one_that_cannot_be_read_loses_its_turn_and_is_read_later(
    org: Org, session: RunnerSession, api: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = sent(api, session, b"first"), sent(api, session, b"second")
    store, work = storage.direct(), Readback()
    away = ids.decode("art", first)

    class Away:
        def __getattr__(self, name: str) -> Any:
            return getattr(store, name)

        def open_received(self, organization_id: Any, upload_id: Any) -> Any:
            if upload_id == away:
                raise StorageUnavailable
            return store.open_received(organization_id, upload_id)

    with monkeypatch.context() as patch:
        patch.setattr(storage, "direct", Away)
        work.run()
    assert shown(org, session, first).json()["status"] == "verifying"
    assert shown(org, session, second).json()["status"] == "stored"
    read_back()
    assert shown(org, session, first).json()["status"] == "stored"


def test_a_large_upload_is_read_over_many_passes_and_copied_in_steps(
    org: Org, session: RunnerSession, api: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = sent(api, session)
    monkeypatch.setattr(readback, "PASS_BYTES", 1 << 20)
    monkeypatch.setattr("grants.s3_direct.COPY_BYTES", PART)
    work, passes = Readback(), 0
    while shown(org, session, made).json()["status"] == "verifying":
        passes += 1
        work.run()
    assert passes > 5
    place = path(session, "artifacts", made, "content")
    assert content(org.viewer.api.get(place)) == CONTENT


@pytest.mark.proves("artifact.direct")
def test_a_process_that_died_after_the_row_leaves_nothing_for_long(
    org: Org, session: RunnerSession, api: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = sent(api, session, b"content")

    def dies(upload: Upload) -> None:
        raise OSError

    with monkeypatch.context() as patch:
        patch.setattr(direct, "discard", dies)
        read_back_once = Readback()
        read_back_once.run()
    assert shown(org, session, made).json()["status"] == "stored"
    assert ids.decode("art", made).hex in blobs.kept(org.id)
    incoming_files.collect()
    assert ids.decode("art", made).hex not in blobs.kept(org.id)
    assert stored_bytes(org, session) == 7


def test_uploads_of_either_kind_go_on_in_their_own_way(session: RunnerSession, api: Any) -> None:
    made = started(api, session, said(b"bytes"))["id"]
    problem(append(api, session, made, b"bytes", 0, True), 409, "upload_kind_mismatch")
    other = begun(api, session, b"byt")
    problem(complete(api, session, other), 409, "upload_kind_mismatch")
    problem(api.post(path(session, "artifacts", other, "parts")), 409, "upload_kind_mismatch")


def test_files_take_no_direct_uploads(
    session: RunnerSession, api: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "ARTIFACTS", "file")
    problem(begin(api, session, said()), 409, "direct_uploads_unsupported")


@pytest.mark.parametrize(
    "wrong", [{"sha256": "A" * 64}, {"size_bytes": 0}, {"name": "a\u202eb"}, {"kind": "Log"},
              {"media_type": "none"}, {"retention": "ever"}, {"parts": 3}],
    ids=lambda wrong: next(iter(wrong)),
)  # fmt: skip
def test_what_is_said_wrongly_is_refused(
    session: RunnerSession, api: Any, wrong: dict[str, Any]
) -> None:
    problem(begin(api, session, said() | wrong), 422)


def test_limits_of_the_profile_hold(org: Org) -> None:
    session = factories.running(org, factories.pending(org, factories.profile(org)))
    most = 0
    with org.scope():
        RunnerProfile.objects.filter(id=session.profile_id).update(max_artifact_bytes=9)
        most = 9
    api = session_api(org, session)
    problem(begin(api, session, said(bytes(most + 1))), 413, "payload_too_large")
    assert begin(api, session, said(bytes(most))).status_code == 201


def test_who_may_not(org: Org, session: RunnerSession) -> None:
    problem(begin(org.viewer.api, session, said()), 403, "missing_scope")
    problem(begin(Org().runner.api, session, said()), 404, "not_found")
    pending = factories.pending(org)
    problem(begin(org.runner.api, pending, said()), 409, "not_leased")
