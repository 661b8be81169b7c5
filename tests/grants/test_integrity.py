"""Artifacts whose bytes changed where they are stored: found, on record, kept back, and healed."""

from __future__ import annotations

import hashlib
import os
import time
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connections
from django.db.models import F

from grants import figures, integrity, queries, scrub, storage
from grants.models import Artifact
from grants.scrub import Scrub
from keeptrusts_runners import clock
from sessions.models import RunnerSession
from sessions.states import Verb
from tests import factories, stored
from tests.blobs import each_store, s3_endpoint  # noqa: F401  (fixtures)
from tests.contract.calls import content, problem
from tests.people import Org
from tests.sessions import records, roads

FAST = 1024**3
pytestmark = pytest.mark.usefixtures("each_store")


@pytest.fixture
def org() -> Org:
    return Org()


@pytest.fixture
def session(org: Org) -> RunnerSession:
    return factories.running(org)


def verify(org: Org, session: RunnerSession, artifact: dict[str, Any]) -> dict[str, Any]:
    place = factories.path(session, "artifacts", artifact["id"], "verification")
    answer = org.auditor.api.post(place)
    assert answer.status_code == 200, answer.content
    found: dict[str, Any] = answer.json()
    return found


def described(org: Org, session: RunnerSession, artifact: dict[str, Any]) -> dict[str, Any]:
    answer = org.viewer.api.get(factories.path(session, "artifacts", artifact["id"]))
    found: dict[str, Any] = answer.json()
    return found


def download(org: Org, session: RunnerSession, artifact: dict[str, Any]) -> Any:
    return org.viewer.api.get(factories.path(session, "artifacts", artifact["id"], "content"))


def audited(org: Org, artifact: dict[str, Any]) -> list[str]:
    """What became of an artifact's bytes, oldest first."""
    items = org.auditor.api.get(f"/runners/audit?object={artifact['id']}").json()["items"]
    return [item["verb"] for item in reversed(items) if item["verb"] != "artifact.downloaded"]


# --- on demand -------------------------------------------------------------------------------


@pytest.mark.proves("artifact.integrity")
def test_a_check_says_what_was_stored_and_what_is_there(
    org: Org, session: RunnerSession, tmp_path: Path
) -> None:
    made = stored.put(org, session, os.urandom(600_000))
    assert made["checked_at"] is None
    check = verify(org, session, made)
    assert (check["verdict"], check["found_sha256"]) == ("verified", made["sha256"])
    assert described(org, session, made)["checked_at"] == check["checked_at"]
    good = stored.flip(org, made["sha256"], tmp_path)
    check = verify(org, session, made)
    now = hashlib.sha256(stored.bytes_of(org, made["sha256"])).hexdigest()
    assert (check["verdict"], check["sha256"]) == ("broken", made["sha256"])
    assert (check["found_sha256"], check["found_size_bytes"]) == (now, 600_000)
    problem(download(org, session, made), 410, "content_broken")
    stored.lose(org, made["sha256"])
    assert verify(org, session, made)["verdict"] == "missing"
    problem(download(org, session, made), 410, "content_missing")
    stored.replace(org, made["sha256"], good, tmp_path)
    assert verify(org, session, made)["verdict"] == "verified"
    assert content(download(org, session, made)) == good
    assert audited(org, made) == ["artifact.broken", "artifact.missing", "artifact.healed"]


@pytest.mark.proves("artifact.integrity")
def test_a_finding_is_kept_although_the_session_is_final_and_its_chain_stays_as_it_was(
    org: Org, session: RunnerSession, tmp_path: Path
) -> None:
    made = stored.put(org, session, b"bytes")
    roads.end(org, session, Verb.COMPLETE)
    with org.scope():
        before = queries.head(session).seq
    stored.flip(org, made["sha256"], tmp_path)
    assert verify(org, session, made)["verdict"] == "broken"
    with org.scope():
        assert queries.head(session).seq == before
    records.assert_sound(org, session)


def test_what_has_the_same_bytes_shares_the_finding_and_no_other_organization_does(
    org: Org, session: RunnerSession, tmp_path: Path
) -> None:
    one, two = (stored.put(org, session, b"the same", name) for name in ("one", "two"))
    other = Org()
    elsewhere = factories.running(other)
    theirs = stored.put(other, elsewhere, b"the same")
    stored.flip(org, one["sha256"], tmp_path)
    verify(org, session, one)
    for artifact in (one, two):
        assert described(org, session, artifact)["status"] == "broken"
        assert audited(org, artifact) == ["artifact.broken"]
    assert described(other, elsewhere, theirs)["status"] == "stored"
    assert content(download(other, elsewhere, theirs)) == b"the same"


def test_the_same_bytes_uploaded_again_are_good_and_the_others_heal(
    org: Org, session: RunnerSession, tmp_path: Path
) -> None:
    made = stored.put(org, session, b"come back")
    stored.flip(org, made["sha256"], tmp_path)
    verify(org, session, made)
    again = stored.put(org, session, b"come back")
    assert content(download(org, session, again)) == b"come back"
    assert verify(org, session, made)["verdict"] == "verified"
    assert content(download(org, session, made)) == b"come back"


def test_a_tag_of_a_description_changes_with_what_is_known(
    org: Org, session: RunnerSession
) -> None:
    made = stored.put(org, session, b"tagged")
    place = factories.path(session, "artifacts", made["id"])
    before = org.viewer.api.get(place)["ETag"]
    verify(org, session, made)
    assert org.viewer.api.get(place, If_None_Match=before).status_code == 200


def test_only_who_may_audit_has_bytes_read_back(org: Org, session: RunnerSession) -> None:
    made = stored.put(org, session, b"mine")
    place = factories.path(session, "artifacts", made["id"], "verification")
    problem(org.operator.api.post(place), 403, "missing_scope")
    problem(Org().auditor.api.post(place), 404, "not_found")
    problem(factories.session_api(org, session).post(place), 403)
    assert described(org, session, made)["checked_at"] is None


# --- the scrub -------------------------------------------------------------------------------


def age(org: Org, days: int = 8) -> None:
    """All artifacts of the organization were stored and checked longer ago."""
    with org.scope():
        by = timedelta(days=days)
        Artifact.objects.update(created_at=F("created_at") - by, checked_at=F("checked_at") - by)


def pass_of(scrub: Scrub, rate: int = FAST) -> Counter[str]:
    """One pass, a second after the last."""
    scrub.last = time.monotonic() - 1
    return scrub.run(rate)


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """No artifact of another test is due, and a pass has all the time that it needs."""
    monkeypatch.setattr(scrub, "PASS_SECONDS", 60.0)
    with connections["migrate"].cursor() as cursor:
        cursor.execute("UPDATE runner_artifact SET checked_at = clock_timestamp()")


@pytest.mark.proves("artifact.integrity")
@pytest.mark.usefixtures("alone")
def test_the_scrub_finds_what_changed_and_what_came_back(
    org: Org, session: RunnerSession, tmp_path: Path
) -> None:
    good = [stored.put(org, session, os.urandom(1000), f"{n}") for n in range(3)]
    broken, missing = (stored.put(org, session, os.urandom(1000), n) for n in "ab")
    before = stored.flip(org, broken["sha256"], tmp_path)
    stored.lose(org, missing["sha256"])
    age(org)
    own = Scrub()
    assert pass_of(own) == {"stored": 3, "broken": 1, "missing": 1, "bytes": 4000}
    assert [described(org, session, each)["status"] for each in good] == ["stored"] * 3
    problem(download(org, session, broken), 410, "content_broken")
    problem(download(org, session, missing), 410, "content_missing")
    assert audited(org, broken) == ["artifact.broken"]
    # What was just read is not due; what is damaged is looked at again before long.
    assert pass_of(own) == {}
    stored.replace(org, broken["sha256"], before, tmp_path)
    age(org, days=1)
    assert pass_of(own) == {"stored": 1, "missing": 1, "bytes": 1000}
    assert content(download(org, session, broken)) == before
    assert audited(org, missing) == ["artifact.missing"]


@pytest.mark.usefixtures("alone")
def test_a_pass_reads_no_more_than_its_due_and_the_next_goes_on(
    org: Org, session: RunnerSession
) -> None:
    size = 5 * storage.CHUNK_BYTES
    large = stored.put(org, session, os.urandom(size))
    age(org)
    own, rate = Scrub(), storage.CHUNK_BYTES
    passes = []
    while "stored" not in (counts := pass_of(own, rate)):
        passes.append(counts["bytes"])
        assert len(passes) < 20
    # Opening it costs something as well, and what was read too much is owed by the next pass.
    assert sum(passes) + counts["bytes"] == size
    assert all(read <= 2 * storage.CHUNK_BYTES for read in passes)
    assert len(passes) >= 4
    assert described(org, session, large)["checked_at"] is not None


@pytest.mark.usefixtures("alone")
def test_a_process_that_starts_anew_goes_on_with_what_is_oldest(
    org: Org, session: RunnerSession
) -> None:
    made = []
    for n in range(4):
        made.append(stored.put(org, session, os.urandom(100), f"{n}"))
        age(org, days=10)
    for _ in made:
        # Enough for one, and for the opening of another.
        assert pass_of(Scrub(), scrub.EACH_BYTES * 3 // 2)["stored"] == 1
    checked = [described(org, session, each)["checked_at"] for each in made]
    assert all(checked)
    assert checked == sorted(checked)


@pytest.mark.usefixtures("alone")
def test_a_blob_that_cannot_be_read_is_neither_good_nor_gone(
    org: Org, session: RunnerSession, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    made = stored.put(org, session, b"behind a lock")
    age(org)

    def refuse(*_: Any) -> Any:
        raise PermissionError("not for you")

    settings.SCRUB_BYTES_PER_SECOND = FAST
    with monkeypatch.context() as patch:
        patch.setattr(scrub, "_scrub", Scrub(last=time.monotonic() - 1))
        patch.setattr(type(storage.store()), "open_range", refuse)
        assert scrub.run_once() == {"failed": 1}
    assert described(org, session, made)["checked_at"] is None
    assert pass_of(Scrub())["stored"] == 1


def test_a_rate_of_nothing_reads_nothing(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.SCRUB_BYTES_PER_SECOND = 0
    monkeypatch.setattr(scrub, "_due", lambda: pytest.fail("it looked"))
    assert scrub.run_once() == {}


def test_content_that_is_removed_meanwhile_is_not_called_missing(
    org: Org, session: RunnerSession
) -> None:
    made, by = stored.put(org, session, b"to be removed"), org.auditor.principal
    with org.scope():
        Artifact.objects.filter(sha256=made["sha256"]).update(
            status="removed", removed_at=clock.now()
        )
        assert integrity.settle(org.id, made["sha256"], integrity.NOTHING, by=by) == 0
        assert Artifact.objects.get(sha256=made["sha256"]).status == "removed"


# --- who is told -----------------------------------------------------------------------------


@pytest.mark.usefixtures("alone")
def test_damage_is_a_figure_and_the_longest_wait_too(
    org: Org, session: RunnerSession, tmp_path: Path
) -> None:
    made = stored.put(org, session, b"counted")
    broken, missing, _ = figures.artifact_integrity()
    age(org, days=30)
    assert figures.artifact_integrity()[2] > timedelta(days=29).total_seconds()
    stored.flip(org, made["sha256"], tmp_path)
    verify(org, session, made)
    assert figures.artifact_integrity()[:2] == (broken + 1, missing)
    text = b"\n".join(str(metric).encode() for metric in figures.metrics())
    assert b"keeptrusts_artifacts_damaged" in text


def test_damage_is_what_an_organization_is_told_of(
    org: Org, session: RunnerSession, tmp_path: Path
) -> None:
    by = org.viewer.principal
    made = stored.put(org, session, b"worth a look")
    with org.scope():
        assert queries.damaged(by=by) == []
    stored.flip(org, made["sha256"], tmp_path)
    verify(org, session, made)
    with org.scope():
        (found,) = queries.damaged(by=by)
        assert (found.status, found.sha256) == ("broken", made["sha256"])
        assert found.checked_at
        assert found.checked_at <= clock.now()
    other = Org()
    theirs = other.viewer.principal
    with other.scope():
        assert queries.damaged(by=theirs) == []
