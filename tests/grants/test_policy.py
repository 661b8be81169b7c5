"""A profile's grant policy: which rule counts, and what a grant then takes."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grants import policy
from keeptrusts_runners import ids
from keeptrusts_runners.identity.scopes import Role
from tests import factories
from tests.factories import session_api
from tests.grants.asking import approve, ask, asked, requested, under, use
from tests.people import Org


@pytest.fixture(scope="module")
def org() -> Org:
    return Org()


# --- which rule ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("patterns", "operation", "expected"),
    [
        (["*"], "network.egress", "*"),
        (["*", "network.*"], "network.egress", "network.*"),
        (["network.*", "network.egress*"], "network.egress:a", "network.egress*"),
        (["network.egress", "network.egress*"], "network.egress", "network.egress"),
        (["network.egress*", "network.egress"], "network.egress", "network.egress"),
        (["network.egress"], "network.egress:a", None),
        (["network.*"], "network", None),
        (["Network.*"], "network.egress", None),
        ([], "network.egress", None),
    ],
    ids=str,
)
def test_the_longest_pattern_that_matches_counts(
    patterns: list[str], operation: str, expected: str | None
) -> None:
    found = policy.rule_for([{"operation": pattern} for pattern in patterns], operation)
    assert (found or {}).get("operation") == expected


_WORDS = st.text("ab.", min_size=1, max_size=5)
_PATTERNS = st.lists(_WORDS | _WORDS.map(lambda word: word + "*") | st.just("*"), max_size=12)


@given(patterns=_PATTERNS, operation=_WORDS, seed=st.randoms())
def test_of_overlapping_patterns_one_counts_in_whatever_order_they_stand(
    patterns: list[str], operation: str, seed: Random
) -> None:
    rules = [{"operation": pattern} for pattern in patterns]
    found = policy.rule_for(rules, operation)
    seed.shuffle(rules)
    assert policy.rule_for(rules, operation) == found
    # Said the other way round: the operation itself, or the first of its prefixes from the longest.
    prefixes = [operation, *(operation[:n] + "*" for n in range(len(operation), -1, -1))]
    expected = next((each for each in prefixes if each in patterns), None)
    assert (found or {}).get("operation") == expected


def test_as_many_and_as_long_patterns_as_may_be_are_told_apart(org: Org) -> None:
    longest = "a" * 198
    rules = [
        {"operation": longest[: 99 + n] + "*", "auto": True, "max_ttl_seconds": 601 + n}
        for n in range(99)
    ]
    session = under(org, {"operation": "*"}, *rules)
    for length in (99, 150, 197):
        operation = longest[:length] + "."
        grant = requested(org, session, operation=operation)
        assert grant["state"] == "active"
        longer = {"operation": operation, "ttl_seconds": 602 + length - 99}
        assert ask(org.runner.api, session, **longer).status_code == 422
    assert requested(org, session, operation=longest[:98])["state"] == "requested"


@pytest.mark.parametrize(
    "pattern", ["a*b", "**", "a**", "*a", "", " ", "a b", "a\n", "(a+)+$*x", "é*", "a" * 201]
)
def test_patterns_that_are_none_are_refused(org: Org, pattern: str) -> None:
    body = {"name": "p", "execution_target": "x", "grant_policy": [{"operation": pattern}]}
    answer = org.admin.api.post("/runners/profiles", body)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "/grant_policy/0/operation"


# --- no rule ---------------------------------------------------------------------------------


def test_without_a_rule_a_person_issues_the_grant_at_once(org: Org) -> None:
    session = under(org)
    grant = asked(org.operator.api, session)
    assert (grant["state"], grant["approvals_required"]) == ("active", 0)
    assert grant["requested_by"] == org.operator.principal.account
    assert use(session_api(org, session), grant)["allowed"] is True


def test_without_a_rule_executing_code_needs_one_approval(org: Org) -> None:
    session = under(org)
    grant = requested(org, session)
    assert (grant["state"], grant["approvals_required"]) == ("requested", 1)
    token = session_api(org, session)
    refused = use(token, grant)
    assert (refused["allowed"], refused["state"]) == (False, "requested")
    assert approve(org.approver.api, grant).json()["state"] == "active"
    assert use(token, grant)["allowed"] is True


def test_without_a_rule_a_machine_needs_one_approval_too(org: Org) -> None:
    session = under(org)
    assert asked(org.runner.api, session)["state"] == "requested"
    assert asked(org.machine(Role.ADMIN).api, session)["state"] == "requested"


def test_without_a_rule_an_hour_is_the_most(org: Org) -> None:
    session = under(org)
    assert ask(org.operator.api, session, ttl_seconds=3600).status_code == 201
    answer = ask(org.operator.api, session, ttl_seconds=3601)
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/ttl_seconds")


# --- rules -----------------------------------------------------------------------------------


def test_a_rule_that_grants_by_itself_needs_nobody(org: Org) -> None:
    session = under(org, {"operation": "network.*", "auto": True})
    assert requested(org, session)["state"] == "active"


def test_a_rule_sets_the_longest_time(org: Org) -> None:
    session = under(org, {"operation": "network.*", "max_ttl_seconds": 7200, "auto": True})
    assert requested(org, session, ttl_seconds=7200)["state"] == "active"
    assert ask(org.operator.api, session, ttl_seconds=7201).status_code == 422


def test_under_a_rule_a_person_needs_its_approvals_too(org: Org) -> None:
    session = under(org, {"operation": "network.*"})
    grant = asked(org.operator.api, session)
    assert (grant["state"], grant["approvals_required"]) == ("requested", 1)


def test_a_rule_asks_for_several_people(org: Org) -> None:
    session = under(org, {"operation": "network.*", "approvals_required": 3})
    grant = requested(org, session)
    for left in (2, 1):
        answer = approve(org.person(Role.APPROVER).api, grant).json()
        assert (answer["state"], len(answer["approvals"])) == ("requested", 3 - left)
    answer = approve(org.person(Role.APPROVER).api, grant).json()
    assert (answer["state"], len(answer["approvals"])) == ("active", 3)
    assert len({approval["by"] for approval in answer["approvals"]}) == 3


def test_a_rule_names_who_may_approve(org: Org) -> None:
    session = under(org, {"operation": "network.*", "approver_roles": ["admin"]})
    grant = requested(org, session)
    answer = approve(org.approver.api, grant)
    assert (answer.status_code, answer.json()["code"]) == (403, "role_not_allowed")
    assert answer.json()["approver_roles"] == ["admin"]
    assert approve(org.person(Role.ADMIN).api, grant).json()["state"] == "active"


@pytest.mark.proves("grant.single-use")
def test_a_grant_for_a_single_use_is_consumed_by_it(org: Org) -> None:
    session = under(org, {"operation": "network.*", "single_use": True, "auto": True})
    token, grant = session_api(org, session), requested(org, session)
    first = use(token, grant)
    assert (first["allowed"], first["uses"], first["state"]) == (True, 1, "consumed")
    second = use(token, grant)
    assert (second["allowed"], second["uses"]) == (False, 1)


@pytest.mark.parametrize(
    ("rule", "role", "required"),
    [
        ({}, Role.ADMIN, 1),
        ({"separation": True}, Role.ADMIN, 1),
        ({"separation": False}, Role.ADMIN, 0),
        ({"separation": False, "approvals_required": 2}, Role.ADMIN, 1),
        # One who could not approve does not by asking.
        ({"separation": False}, Role.OPERATOR, 1),
        ({"separation": False, "approver_roles": ["approver"]}, Role.ADMIN, 1),
    ],
    ids=str,
)
def test_asking_counts_as_approving_only_for_an_approver_where_the_rule_says_so(
    org: Org, rule: dict[str, Any], role: Role, required: int
) -> None:
    session = under(org, {"operation": "network.*"} | rule)
    grant = asked(org.person(role).api, session)
    assert grant["approvals_required"] == required
    assert grant["state"] == ("requested" if required else "active")


def test_the_policy_that_counts_is_the_one_at_dispatch(org: Org) -> None:
    profile = factories.profile(org, grant_policy=[{"operation": "*", "auto": True}])
    session = factories.running(org, factories.pending(org, profile))
    place = f"/runners/profiles/{ids.encode('prof', profile.id)}"
    current = org.admin.api.get(place).json()
    changed = org.admin.api.put(place, current | {"grant_policy": [{"operation": "*"}]})
    assert changed.status_code == 200, changed.content
    assert changed.json()["grant_policy_version"] == 2
    grant = requested(org, session)
    assert (grant["state"], grant["policy_version"]) == ("active", 1)
    later = requested(org, factories.running(org, factories.pending(org, profile)))
    assert (later["state"], later["policy_version"]) == ("requested", 2)
