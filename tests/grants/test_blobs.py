"""Who names which bytes, how much room they take, and what is collected when nobody does."""

from __future__ import annotations

import hashlib
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from django.conf import settings
from django.db import connections
from django.db.models import F

from grants import artifacts, drafts, storage
from grants import blobs as named
from grants.artifact_models import StorageUsage, StoredBlob
from grants.figures import metrics
from keeptrusts_runners.errors import StorageUnavailable
from profiles.models import RunnerProfile
from sessions.models import RunnerSession
from tests import blobs, factories
from tests.blobs import each_store, s3_endpoint  # noqa: F401  (fixtures)
from tests.contract.calls import problem
from tests.factories import path, session_api
from tests.people import Org
from tests.races.threads import at_once

pytestmark = pytest.mark.usefixtures("each_store")


@pytest.fixture
def org() -> Org:
    made = Org()
    assert all((made.operator, made.runner, made.viewer, made.admin))
    return made


def upload(org: Org, session: RunnerSession, content: bytes = b"bytes") -> Any:
    place = f"{path(session, 'artifacts')}?name=out.log&kind=log"
    return session_api(org, session).request("POST", place, raw=content)


def remove(org: Org, session: RunnerSession, artifact: str) -> Any:
    return org.operator.api.delete(f"{path(session, 'artifacts', artifact)}?reason=wrong")


def usage(org: Org) -> dict[str, tuple[int, int]]:
    """Kind of owner → artifacts and bytes; of several of a kind the sum."""
    found: dict[str, tuple[int, int]] = {}
    with org.scope():
        for kind, count, size in StorageUsage.objects.values_list(
            "kind", "artifacts", "size_bytes"
        ):
            before = found.get(kind, (0, 0))
            found[kind] = (before[0] + count, before[1] + size)
    return found


def reservations_are_old(org: Org) -> None:
    with org.scope():
        StoredBlob.objects.update(
            reserved_at=F("reserved_at") - timedelta(seconds=named.GRACE_SECONDS + 1)
        )


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.mark.proves("artifact.usage")
def test_what_is_stored_is_counted_as_it_comes_and_goes(org: Org) -> None:
    on = factories.profile(org)
    sessions = [factories.running(org, factories.pending(org, on)) for _ in range(2)]
    for session in sessions:
        assert upload(org, session, b"x" * 100).status_code == 201
    other = upload(org, sessions[0], b"y" * 30).json()["id"]
    # The store has the same bytes once.
    assert usage(org) == {"session": (3, 230), "profile": (3, 230), "organization": (3, 130)}
    assert remove(org, sessions[0], other).status_code == 204
    assert remove(org, sessions[0], other).status_code == 204
    assert usage(org) == {"session": (2, 200), "profile": (2, 200), "organization": (2, 100)}
    assert len(blobs.kept(org.id)) == 2


@pytest.mark.proves("artifact.usage")
def test_uploads_at_the_same_time_are_counted_exactly_and_no_quota_is_passed(org: Org) -> None:
    on = factories.profile(org, max_stored_bytes=350)
    sessions = [factories.running(org, factories.pending(org, on)) for _ in range(8)]
    answers = at_once([partial(upload, org, each, bytes([n]) * 100) for n, each in
                       enumerate(sessions)])  # fmt: skip
    assert sorted(each.status_code for each in answers) == [201] * 3 + [409] * 5
    refused = next(each for each in answers if each.status_code == 409)
    assert problem(refused, 409, "limit_reached")["limit"] == "max_stored_bytes"
    assert usage(org)["profile"] == (3, 300)
    problem(upload(org, sessions[0], b"x" * 51), 409, "limit_reached")
    assert upload(org, sessions[0], b"x" * 50).status_code == 201


@pytest.mark.proves("artifact.usage")
def test_an_organizations_quota_counts_the_same_bytes_once(
    org: Org, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "ARTIFACT_QUOTA_BYTES", 150)
    session = factories.running(org)
    for _ in range(3):
        made = upload(org, session, b"x" * 50)
        assert made.status_code == 201
    assert usage(org)["organization"] == (3, 50)
    answer = upload(org, session, b"y" * 101)
    assert problem(answer, 409, "limit_reached")["limit"] == "organization_bytes"
    assert upload(org, session, b"y" * 100).status_code == 201
    problem(upload(org, session, b"z"), 409, "limit_reached")
    other = Org()
    assert upload(other, factories.running(other), b"z").status_code == 201


def test_a_recount_comes_to_what_was_kept(org: Org) -> None:
    session = factories.running(org)
    for content in (b"a", b"a", b"bb"):
        assert upload(org, session, content).status_code == 201
    before = usage(org)
    with connections["migrate"].cursor() as cursor:
        cursor.execute(named.RECOUNT, {"organization": org.id})
    assert usage(org) == before == {"session": (3, 4), "profile": (3, 4), "organization": (3, 3)}


# --- what nobody names -----------------------------------------------------------------------


@pytest.mark.proves("artifact.collected")
def test_bytes_go_when_the_last_that_names_them_is_removed(org: Org) -> None:
    session = factories.running(org)
    first, second = (upload(org, session).json()["id"] for _ in range(2))
    reservations_are_old(org)
    remove(org, session, first)
    named.collect()
    assert blobs.kept(org.id) == [digest(b"bytes")]
    remove(org, session, second)
    named.collect()
    assert blobs.kept(org.id) == []
    assert upload(org, session).status_code == 201
    assert blobs.kept(org.id) == [digest(b"bytes")]


@pytest.mark.proves("artifact.collected")
def test_bytes_of_a_process_that_died_before_the_row_are_collected(org: Org) -> None:
    """Killed between rename and commit: the bytes are in their place, and no artifact is."""
    with drafts.Draft(org.id, 100) as draft:
        draft.write(b"orphan")
        artifacts.keep(draft)
    assert blobs.kept(org.id) == [digest(b"orphan")]
    named.collect()
    assert blobs.kept(org.id) == [digest(b"orphan")], "somebody may still be about to name it"
    reservations_are_old(org)
    named.collect()
    assert blobs.kept(org.id) == []


@pytest.mark.proves("artifact.collected")
def test_bytes_that_are_about_to_be_named_are_never_collected(org: Org) -> None:
    """Against collections all the time, each upload of the same old bytes ends with them there."""
    session = factories.running(org)
    for _ in range(6):
        made = upload(org, session).json()["id"]
        reservations_are_old(org)
        remove(org, session, made)
        answers = at_once([named.collect, partial(upload, org, session), named.collect])
        assert answers[1].status_code == 201
        assert blobs.kept(org.id) == [digest(b"bytes")]
        with org.scope():
            assert StoredBlob.objects.get().artifacts == 1
        remove(org, session, answers[1].json()["id"])


def test_who_takes_longer_than_the_grace_is_told_and_names_nothing(org: Org) -> None:
    session = factories.running(org)
    blob = storage.Blob(digest(b"x"), 1)
    with pytest.raises(StorageUnavailable), org.scope():
        artifacts.seal(
            session.id, blob, artifacts.Description("a"), by=org.operator.principal, lease_epoch=1
        )
    assert org.viewer.api.get(path(session, "artifacts")).json()["items"] == []


def test_a_store_that_is_away_holds_up_nothing_and_loses_nothing(
    org: Org, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = factories.running(org)
    remove(org, session, upload(org, session).json()["id"])
    reservations_are_old(org)

    def away() -> Any:
        raise StorageUnavailable

    with monkeypatch.context() as patch:
        patch.setattr(storage, "store", away)
        assert named.collect()["failed"] == 1
    assert blobs.kept(org.id) == [digest(b"bytes")]
    reservations_are_old(org)
    assert named.collect()["blobs_removed"] >= 1
    assert blobs.kept(org.id) == []


@pytest.mark.proves("artifact.collected")
def test_a_blob_that_cannot_be_removed_holds_up_no_other(
    org: Org, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = factories.running(org)
    for content in (b"stuck", b"bytes"):
        remove(org, session, upload(org, session, content).json()["id"])
        reservations_are_old(org)
    store = storage.store()

    class Stuck:
        def remove(self, organization_id: Any, sha256: str) -> None:
            if sha256 == digest(b"stuck"):
                raise OSError("in use")
            store.remove(organization_id, sha256)

    with monkeypatch.context() as patch:
        patch.setattr(storage, "store", Stuck)
        assert named.collect() == {"failed": 1, "blobs_removed": 1}
    assert blobs.kept(org.id) == [digest(b"stuck")]
    reservations_are_old(org)
    assert named.collect()["blobs_removed"] == 1


def test_figures_say_how_much_is_stored(org: Org) -> None:
    session = factories.running(org)
    before = figures()
    assert upload(org, session, b"x" * 1000).status_code == 201
    after = figures()
    assert after["keeptrusts_artifact_bytes"] - before["keeptrusts_artifact_bytes"] == 1000
    assert after["keeptrusts_artifacts_stored"] - before["keeptrusts_artifacts_stored"] == 1
    assert "keeptrusts_artifact_blobs_unnamed" in after


def figures() -> dict[str, float]:
    return {sample.name: sample.value for found in metrics() for sample in found.samples}


def test_a_profiles_room_is_asked_before_the_bytes_come(org: Org) -> None:
    on = factories.profile(org)
    session = factories.running(org, factories.pending(org, on))
    assert upload(org, session, b"x" * 10).status_code == 201
    with org.scope():
        RunnerProfile.objects.filter(id=on.id).update(max_stored_bytes=10)
    problem(upload(org, session, b""), 409, "limit_reached")
