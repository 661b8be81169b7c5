"""The admin's start page, its frame, and what holds for each of its pages."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.contrib import admin
from django.db import connections
from django.test import Client

from keeptrusts_runners import ids
from keeptrusts_runners.investigations.questions import Investigation, Question
from sessions.admin.sessions import RunnerSessionAdmin
from sessions.models import RunnerSession
from tests import factories
from tests.admin.staff import SESSIONS, looker, superuser
from tests.browsers import at_most, text_of
from tests.people import Org

MODELS = list(admin.site._registry)
STRICT = "default-src 'none'"


@pytest.fixture(scope="module")
def root() -> Client:
    return superuser()


@pytest.fixture(scope="module")
def session() -> RunnerSession:
    org = Org()
    made = factories.running(org)
    body = {"operation": "deploy", "reason": "Because", "ttl_seconds": 600}
    assert org.operator.api.post(factories.path(made, "permissions"), body).status_code == 201
    return made


def test_it_asks_the_questions_and_leads_to_each_list_once(root: Client) -> None:
    with at_most(4, "default", "forensics"):
        response = root.get("/admin/")
    page = response.content.decode()
    for question in Question:
        assert question.value in page
    for model in MODELS:
        meta = model._meta
        assert page.count(f'href="/admin/{meta.app_label}/{meta.model_name}/"') == 1


def test_an_id_leads_to_what_it_names(root: Client, session: RunnerSession) -> None:
    for prefix, key, where in (
        ("sess", session.id, "runner_sessions/runnersession"),
        ("prof", session.profile_id, "profiles/runnerprofile"),
        ("org", session.organization_id, "identity/organization"),
    ):
        response = root.get("/admin/", {"q": f" {ids.encode(prefix, key)} "})
        assert response["Location"] == f"/admin/{where}/{key}/change/"
    for nothing in ("sess_0", "nonsense", "<script>", "sess_" + "z" * 26):
        assert "No page here is named by" in text_of(root.get("/admin/", {"q": nothing}))


def test_apps_have_no_pages_of_their_own(root: Client) -> None:
    assert root.get("/admin/grants/")["Location"] == "/admin/"


def test_what_takes_too_long_is_told_as_that(monkeypatch: pytest.MonkeyPatch) -> None:
    slow = Investigation("slow", "Slow", "", "SELECT id FROM runner_session, pg_sleep(1)")
    monkeypatch.setattr(RunnerSessionAdmin, "investigations", (slow,))
    with connections["forensics"].cursor() as cursor:
        cursor.execute("SET statement_timeout = '50ms'")
        try:
            response = looker().get(f"{SESSIONS}?find=slow")
        finally:
            cursor.execute("RESET statement_timeout")
    assert response.status_code == 503
    assert "Narrow the filter" in text_of(response)


# --- each page ---------------------------------------------------------------------------------


def pages(root: Client, session: RunnerSession) -> list[str]:
    found = ["/admin/", "/admin/?q=nonsense", f"{SESSIONS}?find=waiting", f"{SESSIONS}?when=x"]
    for model in MODELS:
        meta: Any = model._meta
        address = f"/admin/{meta.app_label}/{meta.model_name}/"
        found.append(address)
        row = model._default_manager.using("forensics").order_by("-pk").first()
        if row is not None and meta.model_name != "event":
            found.append(f"{address}{row.pk}/change/")
    return [*found, f"{SESSIONS}{session.id}/change/"]


def check_policy(response: Any) -> None:
    policy = response["Content-Security-Policy"]
    assert "unsafe" not in policy
    assert STRICT in policy
    html = response.content.decode()
    assert not re.search(r"<[^>]*\s(style\s*=|on[a-z]+\s*=|[a-z]+\s*=\s*[\"']?javascript:)", html)
    assert "<style" not in html
    assert not re.search(r"<script(?![^>]*\ssrc=)(?![^>]*application/json)", html)


@pytest.mark.proves("admin.strict-policy")
def test_every_page_keeps_to_the_strict_policy(root: Client, session: RunnerSession) -> None:
    for address in pages(root, session):
        response = root.get(address)
        assert response.status_code == 200, address
        check_policy(response)
    asked = {"action": "cancelled", "_selected_action": [str(session.id)]}
    check_policy(root.post(SESSIONS, asked))
    check_policy(root.post(SESSIONS, asked | {"confirmed": "yes"}))


def test_every_link_of_a_session_leads_somewhere(root: Client, session: RunnerSession) -> None:
    page = root.get(f"{SESSIONS}{session.id}/change/").content.decode()
    found = set(re.findall(r'href="(/admin/[^"#]+)"', page))
    assert len(found) > 15
    for address in found:
        response = root.get(address.replace("&amp;", "&"), follow=True)
        assert response.status_code == 200, address


def test_the_console_is_one_link_away(root: Client, session: RunnerSession) -> None:
    page = root.get(f"{SESSIONS}{session.id}/change/").content.decode()
    assert f'href="/runners/sessions/{ids.encode("sess", session.id)}"' in page
