"""Profiles and harness revisions: who may write them, what never changes, and what is pinned."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from keeptrusts_runners import ids
from keeptrusts_runners.identity.scopes import Role
from profiles.models import HarnessRevision, HarnessStatus, RunnerProfile
from tests import factories
from tests.people import Api, Org
from tests.races.threads import at_once

SEED = {
    "name": "network-sandbox",
    "description": "Runner profile for outbound network tasks",
    "execution_target": "runner",
}
DIGEST = "sha256:" + "b" * 64


@pytest.fixture
def org() -> Org:
    return Org()


def place(profile: RunnerProfile, *more: str) -> str:
    return "/".join((f"/runners/profiles/{ids.encode('prof', profile.id)}", *more))


def publish(api: Api, profile: RunnerProfile, **fields: Any) -> Any:
    body = {"version": "1", "image_ref": "registry.test/harness:1"} | fields
    return api.post(place(profile, "harnesses"), body)


# --- profiles --------------------------------------------------------------------------------


def test_the_seeds_profile_has_the_contracts_defaults(org: Org) -> None:
    made = org.operator.api.post("/runners/profiles", SEED).json()
    assert {name: made[name] for name in SEED} == SEED
    assert (made["status"], made["version"]) == ("active", 1)
    assert made["lease"] == {"ttl_seconds": 60, "heartbeat_interval_seconds": 15}
    assert made["retry"]["max_attempts"] == 1
    assert made["grant_policy"] == []


@pytest.mark.parametrize("role", [Role.RUNNER, Role.ENFORCER])
def test_no_executing_machine_writes_profiles_or_harnesses(org: Org, role: Role) -> None:
    profile, machine = factories.profile(org), org.machine(role)
    current = org.viewer.api.get(place(profile)).json()
    for answer in (
        machine.api.post("/runners/profiles", SEED),
        machine.api.put(place(profile), current | {"description": "changed"}),
        machine.api.delete(place(profile)),
        publish(machine.api, profile),
    ):
        assert answer.status_code == 403, answer.content
    assert org.viewer.api.get(place(profile)).json() == current


def test_an_admin_machine_writes_both(org: Org) -> None:
    machine = org.machine(Role.ADMIN)
    made = machine.api.post("/runners/profiles", SEED)
    assert made.status_code == 201
    harness = machine.api.post(
        f"/runners/profiles/{made.json()['id']}/harnesses",
        {"version": "1", "image_ref": "registry.test/harness:1"},
    )
    assert harness.json()["published_by"] == machine.principal.account


def test_only_admins_set_a_grant_policy_and_it_is_versioned(org: Org) -> None:
    policy = [{"operation": "network.*", "approvals_required": 2}]
    refused = org.operator.api.post("/runners/profiles", SEED | {"grant_policy": policy})
    assert (refused.status_code, refused.json()["scope"]) == (403, "members:admin")
    made = org.operator.api.post("/runners/profiles", SEED).json()
    address = f"/runners/profiles/{made['id']}"
    assert org.operator.api.put(address, made | {"grant_policy": policy}).status_code == 403
    changed = org.admin.api.put(address, made | {"grant_policy": policy}).json()
    assert (changed["grant_policy_version"], changed["version"]) == (2, 2)
    same = org.operator.api.put(address, changed | {"description": "by an operator"}).json()
    assert (same["grant_policy_version"], same["grant_policy"]) == (2, changed["grant_policy"])


def test_archiving_keeps_the_history_and_frees_the_name(org: Org) -> None:
    made = org.operator.api.post("/runners/profiles", SEED).json()
    address = f"/runners/profiles/{made['id']}"
    assert org.operator.api.post("/runners/profiles", SEED).json()["code"] == "already_exists"
    for _ in range(2):
        assert org.operator.api.delete(address).status_code == 204
    archived = org.viewer.api.get(address).json()
    assert archived["status"] == "archived"
    assert org.operator.api.put(address, archived).json()["code"] == "profile_archived"
    assert org.operator.api.post("/runners/profiles", SEED).status_code == 201


def test_of_profiles_made_at_once_under_one_name_there_is_one(org: Org) -> None:
    api = org.operator.api
    answers = at_once([partial(api.post, "/runners/profiles", SEED)] * 6)
    assert sorted(answer.status_code for answer in answers) == [201, *[409] * 5]


def test_names_are_each_organizations_own(org: Org) -> None:
    for somewhere in (org, Org()):
        assert somewhere.operator.api.post("/runners/profiles", SEED).status_code == 201


# --- harness revisions -----------------------------------------------------------------------


@pytest.mark.proves("life.pinned")
def test_a_version_is_published_once_and_for_good(org: Org) -> None:
    profile = factories.profile(org)
    first = publish(org.operator.api, profile)
    assert first.status_code == 201
    again = publish(org.operator.api, profile, image_ref="registry.test/harness:other")
    assert (again.status_code, again.json()["code"]) == (409, "already_exists")
    (listed,) = org.viewer.api.get(place(profile, "harnesses")).json()["items"]
    assert listed == first.json()
    assert publish(org.operator.api, factories.profile(org)).status_code == 201


def test_of_revisions_published_at_once_under_one_version_there_is_one(org: Org) -> None:
    profile = factories.profile(org)
    answers = at_once([partial(publish, org.operator.api, profile)] * 6)
    assert sorted(answer.status_code for answer in answers) == [201, *[409] * 5]


@pytest.mark.parametrize(
    ("fields", "digest"),
    [
        ({}, None),
        ({"image_ref": f"registry.test/harness:1@{DIGEST}"}, DIGEST),
        ({"image_digest": DIGEST}, DIGEST),
        ({"image_ref": f"registry.test/harness:1@{DIGEST}", "image_digest": DIGEST}, DIGEST),
    ],
    ids=["tag", "in the reference", "beside it", "both"],
)
def test_a_tag_without_a_digest_is_marked_as_one_that_can_move(
    org: Org, fields: dict[str, Any], digest: str | None
) -> None:
    made = publish(org.operator.api, factories.profile(org), **fields).json()
    assert (made["image_digest"], made["mutable_tag"]) == (digest, digest is None)


def test_two_digests_that_differ_are_a_contradiction(org: Org) -> None:
    other = "sha256:" + "c" * 64
    reference = f"registry.test/harness:1@{DIGEST}"
    answer = publish(
        org.operator.api, factories.profile(org), image_ref=reference, image_digest=other
    )
    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (422, "contradiction")


def test_the_latest_is_the_newest_that_can_be_used(org: Org) -> None:
    profile = factories.profile(org)
    latest = lambda: org.viewer.api.get(place(profile, "harnesses", "latest"))
    assert (latest().status_code, latest().json()["code"]) == (404, "no_harness")
    made = [publish(org.operator.api, profile, version=str(n)).json()["id"] for n in range(3)]
    assert latest().json()["id"] == made[2]
    for index, status in ((2, HarnessStatus.RECALLED), (1, HarnessStatus.DEPRECATED)):
        with org.scope():
            HarnessRevision.objects.filter(id=ids.decode("harn", made[index])).update(status=status)
        assert latest().json()["id"] == made[index - 1]


def test_an_archived_profile_takes_no_revisions(org: Org) -> None:
    profile = factories.profile(org)
    org.operator.api.delete(place(profile))
    assert publish(org.operator.api, profile).json()["code"] == "profile_archived"
