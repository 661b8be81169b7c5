"""A profile's page and its forms: what they say, what they do, and what they refuse."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from keeptrusts_runners import ids
from profiles import catalog
from profiles.models import HarnessRevision, RunnerProfile
from sessions import claims
from sessions.claims import ClaimRequest
from tests import factories
from tests.browsers import at_most, browser, text_of
from tests.people import Org

POLICY = '[{"operation": "network.egress:*", "max_ttl_seconds": 900, "risk": "high"}]'


@pytest.fixture
def org() -> Org:
    return Org()


def page(profile: RunnerProfile, *more: str) -> str:
    return "/".join((f"/runners/profiles/{ids.encode('prof', profile.id)}", *more))


def now(org: Org, profile: RunnerProfile) -> RunnerProfile:
    with org.scope():
        profile.refresh_from_db()
    return profile


def publish(org: Org, profile: RunnerProfile, version: str = "1") -> HarnessRevision:
    with org.scope():
        return catalog.publish_harness(
            profile.id, {"version": version, "image_ref": "a/b"}, by=org.admin.principal
        )


def fields(**changed: Any) -> dict[str, Any]:
    return {"name": "builders", "execution_target": "vm", "lease_ttl_seconds": "60"} | changed


def typed_in(client: Client, address: str) -> dict[str, Any]:
    """What the form holds when it is opened."""
    form = client.get(address).context["form"]
    return {field.name: "" if field.value() is None else field.value() for field in form}


# --- the page --------------------------------------------------------------------------------


def test_the_overview_says_the_rules_in_words(org: Org) -> None:
    on = factories.profile(org, name="net", max_concurrent_sessions=4, grant_policy=[
        {"operation": "read.*", "auto": True},
        {"operation": "write", "approvals_required": 2, "single_use": True, "risk": "critical"},
    ])  # fmt: skip
    text = text_of(browser(org.viewer).get(page(on)))
    assert "at most 4 sessions" in text
    assert "lost after 1m 00s of silence" in text
    assert "read.* – no approval" in text
    assert "write Critical 2 approvals any approver 1 h for one use" in text


def test_why_the_queue_waits_is_said_for_all_that_wait(org: Org) -> None:
    on = factories.profile(org)
    assert "Why the queue waits" not in text_of(browser(org.viewer).get(page(on)))
    factories.pending(org, on)
    factories.pending(org, on)
    assert "No executor, 2 of the first 50" in text_of(browser(org.viewer).get(page(on)))
    with org.scope():
        catalog.pause_profile(on.id, by=org.admin.principal)
    assert "Profile paused, 2 of the first 50" in text_of(browser(org.viewer).get(page(on)))


def test_the_cost_of_the_page_does_not_depend_on_how_much_there_is(org: Org) -> None:
    on = factories.profile(org, max_concurrent_sessions=2)
    for _ in range(4):
        factories.pending(org, on)
    factories.running(org, factories.pending(org, on))
    publish(org, on)
    client = browser(org.viewer)
    with at_most(14):
        assert client.get(page(on)).status_code == 200


def test_only_auditors_are_led_to_the_audit_log(org: Org) -> None:
    on = factories.profile(org)
    link = f"/runners/audit?object={ids.encode('prof', on.id)}".encode()
    assert link in browser(org.auditor).get(page(on)).content
    assert link not in browser(org.operator).get(page(on)).content


def test_who_may_not_write_is_shown_no_way_to(org: Org) -> None:
    on = factories.profile(org)
    publish(org, on)
    html = browser(org.viewer).get(page(on)).content
    for way in (b"/edit", b"/pause", b"/archive", b"/revisions/new", b"/recall"):
        assert way not in html


# --- making and changing one -----------------------------------------------------------------


def test_a_profile_is_made_with_what_was_typed(org: Org) -> None:
    client = browser(org.admin)
    given = fields(labels="team=blue\nzone = eu", grant_policy=POLICY, retention_days="30")
    response = client.post("/runners/profiles/new", given)
    assert response.status_code == 303
    with org.scope():
        made = RunnerProfile.objects.get(name="builders")
    assert made.labels == {"team": "blue", "zone": "eu"}
    assert made.grant_policy[0]["max_ttl_seconds"] == 900
    assert (made.retention_days, made.max_attempts, made.max_concurrent_sessions) == (30, 1, None)
    assert "builders can be dispatched to." in text_of(client.get(response["Location"]))


@pytest.mark.parametrize(
    ("changed", "field", "said"),
    [
        ({"name": ""}, "name", "required"),
        ({"lease_ttl_seconds": "1"}, "lease_ttl_seconds", "at least 5"),
        ({"lease_ttl_seconds": "soon"}, "lease_ttl_seconds", "whole number"),
        ({"heartbeat_interval_seconds": "60"}, "heartbeat_interval_seconds", "Must be shorter"),
        ({"labels": "team"}, "labels", "Line 1: a label is written key=value"),
        ({"labels": "-=x"}, "labels", "The key"),
        ({"grant_policy": '[{"operation": }]'}, "grant_policy", "line 1, column 16"),
        ({"grant_policy": '[{"operation": "x", "auto": 1}]'}, "grant_policy", "item 1, auto"),
        ({"grant_policy": "{}"}, "grant_policy", "must be a list"),
    ],
)
def test_what_is_refused_is_said_at_its_field_and_kept(
    org: Org, changed: dict[str, str], field: str, said: str
) -> None:
    response = browser(org.admin).post("/runners/profiles/new", fields(**changed))
    assert response.status_code == 422
    html = response.content.decode()
    assert "<title>Error: New profile" in html
    assert f'href="#id_{field}"' in html
    assert said in text_of(response)
    assert response.context["form"][field].value() == changed[field]
    with org.scope():
        assert not RunnerProfile.objects.filter(name="builders").exists()


def test_a_name_in_use_is_a_conflict_at_the_name(org: Org) -> None:
    factories.profile(org, name="builders")
    response = browser(org.admin).post("/runners/profiles/new", fields())
    assert response.status_code == 409
    assert b'href="#id_name"' in response.content


def test_only_admins_are_asked_for_the_grant_policy_and_only_theirs_counts(org: Org) -> None:
    client = browser(org.operator)
    assert b"id_grant_policy" not in client.get("/runners/profiles/new").content
    assert client.post("/runners/profiles/new", fields(grant_policy=POLICY)).status_code == 303
    with org.scope():
        assert RunnerProfile.objects.get(name="builders").grant_policy == []


def test_saving_replaces_what_was_typed_and_nothing_else(org: Org) -> None:
    on = factories.profile(org, name="before", labels={"a": "b"}, max_attempts=3,
                           grant_policy=[{"operation": "x"}])  # fmt: skip
    client = browser(org.operator)
    given = typed_in(client, page(on, "edit")) | {"name": "after", "max_artifacts": ""}
    given |= {"labels": "c=d", "description": "two\r\nlines"}
    assert client.post(page(on, "edit"), given).status_code == 303
    on = now(org, on)
    assert (on.name, on.labels, on.max_attempts, on.max_artifacts) == ("after", {"c": "d"}, 3, 500)
    assert on.grant_policy == [{"operation": "x"}]
    assert on.description == "two\nlines"


def test_who_saves_second_sees_both_and_loses_nothing(org: Org) -> None:
    on = factories.profile(org, name="before", max_attempts=1)
    client = browser(org.operator)
    mine = typed_in(client, page(on, "edit")) | {"labels": "", "max_attempts": "7"}
    with org.scope():
        current = catalog.for_update(on.id, by=org.admin.principal)
        catalog.replace_profile(current, {"max_attempts": 5}, by=org.admin.principal)
    response = client.post(page(on, "edit"), mine)
    assert response.status_code == 409
    text = text_of(response)
    assert f"{org.admin.user.email} saved version 2" in text
    assert "Attempts 5 7" in text
    assert now(org, on).max_attempts == 5
    again = {field.name: field.value() or "" for field in response.context["form"]}
    assert client.post(page(on, "edit"), again).status_code == 303
    assert now(org, on).max_attempts == 7


def test_an_archived_profile_cannot_be_opened_for_change(org: Org) -> None:
    on = factories.profile(org)
    with org.scope():
        catalog.archive_profile(
            catalog.for_update(on.id, by=org.admin.principal), by=org.admin.principal
        )
    client = browser(org.operator)
    assert client.get(page(on, "edit")).status_code == 409
    assert client.get(page(on, "revisions", "new")).status_code == 409
    assert client.post(page(on, "edit"), typed_in_nothing()).status_code in (409, 422)


def typed_in_nothing() -> dict[str, str]:
    return {"name": "x", "execution_target": "y", "version": "2"}


def test_an_outsider_finds_no_form(org: Org) -> None:
    on = factories.profile(org)
    client = browser(Org().admin)
    for more in (("edit",), ("revisions", "new"), ("pause",)):
        assert client.get(page(on, *more)).status_code == 404
        assert client.post(page(on, *more), fields()).status_code == 404


# --- pausing ---------------------------------------------------------------------------------


def test_a_paused_profile_hands_out_nothing_until_it_is_unpaused(org: Org) -> None:
    on = factories.profile(org)
    waiting = factories.pending(org, on)
    client, runner = browser(org.operator), org.runner.principal
    assert "1 queued session waits" in text_of(client.get(page(on, "pause")))
    client.post(page(on, "pause"))
    with org.scope():
        assert claims.claim_next(ClaimRequest(), by=runner) == []
    assert b"Unpause profile" in client.get(page(on)).content
    client.post(page(on, "unpause"))
    with org.scope():
        assert [each.id for each in claims.claim_next(ClaimRequest(), by=runner)] == [waiting.id]


# --- revisions -------------------------------------------------------------------------------


def test_a_revision_is_published_once(org: Org) -> None:
    on = factories.profile(org)
    client, digest = browser(org.operator), "sha256:" + "ab" * 32
    given = {"version": "1", "image_ref": f"r/app@{digest}", "entrypoint": "run\n--fast"}
    assert client.post(page(on, "revisions", "new"), given).status_code == 303
    with org.scope():
        made = HarnessRevision.objects.get(profile_id=on.id)
    assert (made.image_digest, made.entrypoint) == (digest, ["run", "--fast"])
    again = client.post(page(on, "revisions", "new"), given)
    assert again.status_code == 422
    assert "published already" in text_of(again)
    assert "Now 1 is pinned" in text_of(again)


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"version": ""}, "version"),
        ({"image_digest": "sha256:short"}, "image_digest"),
        ({"image_digest": "sha256:" + "cd" * 32}, "image_digest"),
    ],
)
def test_a_revision_that_contradicts_itself_is_refused(
    org: Org, changed: dict[str, str], field: str
) -> None:
    on = factories.profile(org)
    given = {"version": "1", "image_ref": "r/app@sha256:" + "ab" * 32} | changed
    response = browser(org.operator).post(page(on, "revisions", "new"), given)
    assert response.status_code == 422
    assert f'href="#id_{field}"'.encode() in response.content


def test_revisions_are_listed_page_by_page(org: Org) -> None:
    on = factories.profile(org)
    for number in range(3):
        publish(org, on, str(number))
    client = browser(org.viewer)
    first = client.get(page(on, "revisions"))
    assert [row.version for row, _ in first.context["revisions"]] == ["2", "1", "0"]
    assert client.get(page(on, "revisions") + "?cursor=forged").status_code == 400
