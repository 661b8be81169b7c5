"""The content of artifacts goes, by a person or by time; row, digest and record stay."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db.models import F

from grants import retention
from grants.models import Artifact
from profiles.models import RunnerProfile
from sessions.models import RunnerSession
from sessions.states import State, Verb
from tests import factories
from tests.contract.calls import problem
from tests.factories import path, session_api
from tests.people import Org
from tests.sessions import records, roads


@pytest.fixture(scope="module")
def org() -> Org:
    return Org()


def upload(org: Org, session: RunnerSession, **query: str) -> str:
    asked = "&".join(f"{name}={value}" for name, value in {"name": "a", **query}.items())
    place = f"{path(session, 'artifacts')}?{asked}"
    answer = session_api(org, session).request("POST", place, raw=b"bytes")
    assert answer.status_code == 201, answer.content
    return str(answer.json()["id"])


def remove(api: Any, session: RunnerSession, artifact: str, **headers: str) -> Any:
    return api.delete(f"{path(session, 'artifacts', artifact)}?reason=it+was+a+secret", **headers)


def shown(org: Org, session: RunnerSession, artifact: str) -> dict[str, Any]:
    return dict(org.viewer.api.get(path(session, "artifacts", artifact)).json())


@pytest.mark.proves("artifact.removed")
def test_removed_content_is_gone_and_what_it_was_is_still_told(org: Org) -> None:
    session = factories.running(org)
    made = upload(org, session)
    before = shown(org, session, made)
    assert remove(org.operator.api, session, made).status_code == 204
    after = shown(org, session, made)
    assert after["status"] == "removed"
    assert (after["sha256"], after["size_bytes"]) == (before["sha256"], before["size_bytes"])
    assert after["removed_by"] == org.operator.principal.actor
    assert after["removal_reason"] == "it was a secret"
    assert after["removed_at"]
    answer = org.viewer.api.get(path(session, "artifacts", made, "content"))
    problem(answer, 404, "not_found")
    tombstone = records.last(org, session, "artifact.removed")
    assert tombstone.data == {
        "artifact_id": made, "sha256": before["sha256"], "reason": "it was a secret",
    }  # fmt: skip
    records.assert_sound(org, session)


def test_removing_again_is_the_same_and_recorded_once(org: Org) -> None:
    session = factories.running(org)
    made = upload(org, session)
    for _ in range(2):
        assert remove(org.operator.api, session, made).status_code == 204
    with org.scope():
        assert session.events.filter(kind="artifact.removed").count() == 1


def test_content_of_an_ended_session_can_be_removed(org: Org) -> None:
    session = factories.running(org)
    made = upload(org, session)
    roads.end(org, session, Verb.COMPLETE)
    assert remove(org.operator.api, session, made).status_code == 204
    records.assert_sound(org, session)


@pytest.mark.proves("artifact.removed")
def test_under_a_hold_nothing_is_removed(org: Org) -> None:
    session = factories.running(org)
    made = upload(org, session)
    assert org.auditor.api.put(path(session, "hold"), {"reason": "r"}).status_code == 200
    problem(remove(org.operator.api, session, made), 409, "evidence_held")
    assert shown(org, session, made)["status"] == "stored"
    assert org.auditor.api.delete(path(session, "hold")).status_code == 204
    assert remove(org.operator.api, session, made).status_code == 204


def test_who_may_not_remove_and_what_is_asked_wrongly(org: Org) -> None:
    session = factories.running(org)
    made = upload(org, session)
    problem(remove(org.viewer.api, session, made), 403, "missing_scope")
    problem(remove(org.runner.api, session, made), 403, "permission_denied")
    problem(remove(session_api(org, session), session, made), 403, "outside_session")
    problem(remove(Org().operator.api, session, made), 404, "not_found")
    problem(remove(org.operator.api, factories.running(org), made), 404, "not_found")
    for query in ("", "?reason=", "?reason=%00", f"?reason={'x' * 2001}"):
        answer = org.operator.api.delete(path(session, "artifacts", made) + query)
        assert answer.status_code in (400, 422), query
    problem(remove(org.operator.api, session, made, If_Match='"other"'), 412)
    assert shown(org, session, made)["status"] == "stored"


# --- time ------------------------------------------------------------------------------------


def ended(org: Org, days_ago: int = 0, **profile: int) -> tuple[RunnerSession, str, str]:
    """An ended session with an artifact of each class, and its profile's times. What is to be kept
    for 0 days, which no profile says, is due at once."""
    session = factories.running(org)
    made = upload(org, session), upload(org, session, retention="evidence")
    roads.end(org, session, Verb.COMPLETE)
    with org.scope():
        RunnerProfile.objects.filter(id=session.profile_id).update(**profile)
        RunnerSession.objects.filter(id=session.id).update(
            ended_at=F("ended_at") - timedelta(days=days_ago)
        )
    return session, *made


@pytest.mark.proves("artifact.retention")
def test_content_goes_after_its_own_time_but_what_is_kept_as_evidence(org: Org) -> None:
    session, standard, evidence = ended(org, artifact_retention_days=0)
    young, other, _ = ended(org, artifact_retention_days=1)
    assert retention.run_once()["artifacts_expired"] == 1
    assert retention.run_once()["artifacts_expired"] == 0
    assert shown(org, session, standard)["status"] == "removed"
    assert shown(org, session, standard)["removal_reason"] == "retention"
    assert shown(org, session, evidence)["status"] == "stored"
    assert shown(org, young, other)["status"] == "stored"
    assert records.last(org, session, "artifact.removed").data["reason"] == "retention"
    records.assert_sound(org, session)


@pytest.mark.proves("artifact.retention")
def test_content_goes_with_the_evidence_at_the_latest(org: Org) -> None:
    session, *made = ended(org, 31, retention_days=30)
    assert retention.run_once()["sessions_expired"] == 1
    for each in made:
        assert shown(org, session, each)["status"] == "removed"
    checked = org.auditor.api.post(path(session, "evidence/verification")).json()
    assert checked["verdict"] == "verified"


@pytest.mark.proves("artifact.retention")
def test_a_hold_keeps_content_past_its_time(org: Org) -> None:
    session, standard, _ = ended(org, artifact_retention_days=0)
    assert org.auditor.api.put(path(session, "hold"), {"reason": "r"}).status_code == 200
    assert retention.run_once()["artifacts_expired"] == 0
    assert org.auditor.api.delete(path(session, "hold")).status_code == 204
    assert retention.run_once()["artifacts_expired"] == 1
    assert shown(org, session, standard)["status"] == "removed"


def test_what_still_runs_keeps_its_content(org: Org) -> None:
    session = factories.running(org)
    made = upload(org, session)
    with org.scope():
        RunnerProfile.objects.filter(id=session.profile_id).update(artifact_retention_days=1)
    retention.run_once()
    assert shown(org, session, made)["status"] == "stored"
    assert State(session.state) is State.RUNNING
    with org.scope():
        assert Artifact.objects.get(session_id=session.id).removed_at is None
