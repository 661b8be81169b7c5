"""/llms.txt: true, whole, and its commands work."""

from __future__ import annotations

import urllib.request
from pathlib import Path

import pytest
from django.test import Client

from keeptrusts_runners import ids
from keeptrusts_runners.identity.scopes import Role, Scope
from sessions.states import State
from tests.docs.blocks import executed, run, shell
from tests.people import Org

# What the API promises to have, whatever else it may have beside it.
ROUTES = """
GET /v1/runners/profiles
POST /v1/runners/profiles
GET /v1/runners/profiles/{profile_id}
PUT /v1/runners/profiles/{profile_id}
DELETE /v1/runners/profiles/{profile_id}
GET /v1/runners/profiles/{profile_id}/harnesses
GET /v1/runners/profiles/{profile_id}/harnesses/latest
POST /v1/runners/profiles/{profile_id}/harnesses
GET /v1/runners/sessions
POST /v1/runners/sessions
GET /v1/runners/sessions/{session_id}
PATCH /v1/runners/sessions/{session_id}
POST /v1/runners/sessions/{session_id}/claim
POST /v1/runners/sessions/{session_id}/heartbeat
POST /v1/runners/sessions/{session_id}/checkpoint
POST /v1/runners/sessions/{session_id}/resume
POST /v1/runners/sessions/{session_id}/cancel
GET /v1/runners/sessions/{session_id}/events
POST /v1/runners/sessions/{session_id}/events
GET /v1/runners/sessions/{session_id}/artifacts
POST /v1/runners/sessions/{session_id}/artifacts
GET /v1/runners/sessions/{session_id}/permissions
POST /v1/runners/sessions/{session_id}/permissions
DELETE /v1/runners/sessions/{session_id}/permissions/{grant_id}
""".strip().splitlines()


@pytest.fixture
def text() -> str:
    answer = Client().get("/llms.txt")
    assert answer.status_code == 200
    assert answer["Content-Type"] == "text/plain; charset=utf-8"
    return answer.content.decode()


@pytest.mark.parametrize("route", ROUTES)
def test_every_route_is_told_with_its_scope(text: str, route: str) -> None:
    (line,) = (line for line in text.splitlines() if line.startswith(f"- {route} ["))
    assert "[runners:" in line


def test_every_state_and_role_is_named(text: str) -> None:
    lifecycle = text.partition("## Lifecycle")[2].partition("##")[0]
    assert all(state in lifecycle for state in State)
    assert all(f"- {role}: " in text for role in Role)
    assert all(scope in text for scope in Scope)


def test_nothing_of_the_template_is_left(text: str) -> None:
    assert "{%" not in text
    assert "{{" not in text
    assert "&#" not in text


@pytest.mark.proves("run.documents")
def test_its_commands_complete_a_session(live_url: str, tmp_path: Path) -> None:
    org = Org()
    account = org.machine(Role.ADMIN)
    with urllib.request.urlopen(f"{live_url}/llms.txt") as answer:
        script = shell(executed(answer.read().decode()))
    variables = {
        "KEEPTRUSTS_URL": live_url,
        "CLIENT_ID": ids.encode("sa", account.account.id),
        "CLIENT_SECRET": account.secret,
    }
    told = run(script, variables, cwd=tmp_path)
    assert '"kind":"state.completed"' in told
