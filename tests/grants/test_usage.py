"""How much is stored, of the organization and by profile, as the API and the profile's page say."""

from __future__ import annotations

from typing import Any

import pytest
from django.conf import settings
from django.db import connection

from grants import usage
from keeptrusts_runners import ids
from profiles.models import RunnerProfile
from sessions.models import RunnerSession
from tests import factories
from tests.browsers import at_most, browser, text_of
from tests.contract.calls import problem
from tests.factories import path
from tests.people import Org

USAGE = "/runners/usage"
MIB = 1 << 20


@pytest.fixture
def org() -> Org:
    made = Org()
    assert all((made.operator, made.runner, made.viewer, made.admin))
    return made


def running(org: Org, **limits: Any) -> RunnerSession:
    return factories.running(org, factories.pending(org, factories.profile(org, **limits)))


def upload(org: Org, session: RunnerSession, content: bytes) -> str:
    place = f"{path(session, 'artifacts')}?name=out.log"
    answer = org.runner.api.request("POST", place, raw=content)
    assert answer.status_code == 201, answer.content
    return str(answer.json()["id"])


def asked(org: Org, query: str = "") -> Any:
    answer = org.viewer.api.get(USAGE + query)
    assert answer.status_code == 200, answer.content
    return answer.json()


def own(session: RunnerSession) -> str:
    return ids.encode("prof", session.profile_id)


@pytest.mark.proves("artifact.usage")
def test_what_is_stored_is_told_by_profile_the_largest_first_and_the_same_bytes_once_in_all(
    org: Org, monkeypatch: pytest.MonkeyPatch
) -> None:
    small, large = running(org, name="small"), running(org, name="large", max_stored_bytes=1000)
    upload(org, small, b"x" * 100)
    upload(org, large, b"x" * 100)
    removed = upload(org, large, b"y" * 50)
    upload(org, large, b"z" * 20)
    gone = f"{path(large, 'artifacts', removed)}?reason=wrong"
    assert org.operator.api.delete(gone).status_code == 204
    found = asked(org)
    assert found == {
        "organization": {"stored_bytes": 120, "artifacts": 3, "quota_bytes": None},
        "profiles": [
            {
                "profile_id": own(large), "name": "large", "status": "active",
                "stored_bytes": 120, "artifacts": 2, "max_stored_bytes": 1000,
            },
            {
                "profile_id": own(small), "name": "small", "status": "active",
                "stored_bytes": 100, "artifacts": 1, "max_stored_bytes": None,
            },
        ],
        "truncated": False,
    }  # fmt: skip
    monkeypatch.setattr(settings, "ARTIFACT_QUOTA_BYTES", 5000)
    assert asked(org)["organization"]["quota_bytes"] == 5000
    monkeypatch.setattr(usage, "MAX_PROFILES", 1)
    told = asked(org)
    assert (told["profiles"], told["truncated"]) == (found["profiles"][:1], True)


def test_one_profile_can_be_asked_for_and_another_organizations_is_not_there(org: Org) -> None:
    session, other = running(org), running(org)
    upload(org, session, b"x" * 100)
    (told,) = asked(org, f"?profile_id={own(other)}")["profiles"]
    assert (told["profile_id"], told["stored_bytes"], told["artifacts"]) == (own(other), 0, 0)
    outsider = Org()
    for unknown in (own(session), ids.encode("prof", ids.new())):
        assert asked(outsider, f"?profile_id={unknown}") == {
            "organization": {"stored_bytes": 0, "artifacts": 0, "quota_bytes": None},
            "profiles": [],
            "truncated": False,
        }
    for wrong in ("prof_", "sess_00000000000000000000000000", "%00"):
        problem(org.viewer.api.get(f"{USAGE}?profile_id={wrong}"), 400, "invalid_parameter")
    problem(org.machine("enforcer").api.get(USAGE), 403)


def test_an_archived_profile_is_told_while_it_has_content(org: Org) -> None:
    full, empty = running(org), running(org)
    upload(org, full, b"x")
    with org.scope():
        RunnerProfile.objects.all().update(status="archived")
    assert [each["profile_id"] for each in asked(org)["profiles"]] == [own(full)]
    (told,) = asked(org, f"?profile_id={own(empty)}")["profiles"]
    assert told["status"] == "archived"


def test_the_answer_costs_the_same_whatever_is_stored(org: Org) -> None:
    session = running(org)
    for number in range(5):
        upload(org, session, bytes([number]))
    with at_most(5):
        assert asked(org)["organization"]["artifacts"] == 5
    given = {"organization": org.id, "only": None, "most": 1001}
    with org.scope(), connection.cursor() as cursor:
        # Where nothing can be joined by looking up, the planner looks for another join.
        cursor.execute("SET LOCAL enable_nestloop = off")
        cursor.execute(f"EXPLAIN {usage._OF_PROFILES}", given)
        plan = "\n".join(line for (line,) in cursor.fetchall())
    # And has none: the rows of all sessions are never read.
    assert "Nested Loop Left Join" in plan, plan


@pytest.mark.parametrize(
    ("limit", "said"),
    [
        (None, "Stored 1.5 MiB, 1 artifact Retention"),
        (4 * MIB, "Stored 1.5 MiB of 4.0 MiB, 1 artifact Retention"),
        (1_740_000, "Stored 1.5 MiB of 1.7 MiB, 1 artifact, nearly full Retention"),
        (3 * MIB // 2, "Stored 1.5 MiB of 1.5 MiB, 1 artifact, full Retention"),
    ],
)
def test_the_profiles_page_says_how_much_is_stored_of_how_much(
    org: Org, limit: int | None, said: str
) -> None:
    session = running(org, max_stored_bytes=limit)
    upload(org, session, b"x" * (3 * MIB // 2))
    page = browser(org.viewer).get(f"/runners/profiles/{own(session)}")
    assert said in text_of(page)
    empty = browser(org.viewer).get(f"/runners/profiles/{own(running(org))}")
    assert "Stored 0 B, 0 artifacts" in text_of(empty)
