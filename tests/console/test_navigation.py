"""The header's links: what may be opened, and where one is."""

from __future__ import annotations

import pytest

from keeptrusts_runners import ids
from keeptrusts_runners.console import navigation
from keeptrusts_runners.console.navigation import Item
from keeptrusts_runners.identity.principal import Principal, PrincipalKind
from keeptrusts_runners.identity.scopes import ROLE_SCOPES, Role, Scope


@pytest.fixture(autouse=True)
def items(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(navigation, "_items", {})
    navigation.register(Item("Audit", "/runners/audit", order=30, scope=Scope.AUDIT))
    navigation.register(Item("Sessions", "/runners/sessions", order=20))
    navigation.register(Item("Fleet", "/runners", order=10))


def principal(role: Role) -> Principal:
    return Principal(PrincipalKind.USER, ids.new(), ids.new(), ROLE_SCOPES[role], role)


def labels(role: Role) -> list[str]:
    return [link.label for link in navigation.links(principal(role), "/", {})]


def test_entries_are_ordered_and_need_their_scope() -> None:
    assert labels(Role.VIEWER) == ["Fleet", "Sessions"]
    assert labels(Role.AUDITOR) == ["Fleet", "Sessions", "Audit"]


@pytest.mark.parametrize(
    ("path", "current"),
    [
        ("/runners", ["Fleet"]),
        ("/runners/sessions", ["Sessions"]),
        ("/runners/sessions/sess_x", ["Sessions"]),
        ("/runners/profiles/prof_x", ["Fleet"]),
        ("/runnersmith", []),
    ],
)
def test_the_longest_match_is_current(path: str, current: list[str]) -> None:
    links = navigation.links(principal(Role.VIEWER), path, {})
    assert [link.label for link in links if link.current] == current


def test_what_waits_is_counted_as_far_as_it_is_shown_and_fresh_where_there_is_a_stream() -> None:
    waiting = navigation.Waiting("SELECT 1", "/runners/audit/count", "audit")
    navigation.register(Item("Audit", "/runners/audit", 30, Scope.AUDIT, waiting))
    assert navigation.counts(principal(Role.VIEWER)) == {}
    auditor = principal(Role.AUDITOR)
    assert navigation.counts(auditor) == {"/runners/audit": "SELECT 1"}
    for counted, said in (
        ({}, None),
        ({"/runners/audit": 99}, "99"),
        ({"/runners/audit": 100}, "99+"),
    ):
        assert [link.count for link in navigation.links(auditor, "/", counted)] == [
            None,
            None,
            said,
        ]
    assert navigation.links(auditor, "/runners", {})[2].waiting is waiting
    assert navigation.links(auditor, "/runners/sessions/sess_x", {})[2].waiting is None


def test_home_is_the_first_page_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    assert navigation.home() == "/runners"
    monkeypatch.setattr(navigation, "_items", {})
    assert navigation.home() == "/runners"


def test_registering_again_replaces() -> None:
    navigation.register(Item("Home", "/runners", order=10))
    assert labels(Role.VIEWER) == ["Home", "Sessions"]
