"""Who gets a page, who is sent where, and what becomes of a refusal."""

from __future__ import annotations

import re
from uuid import UUID

import pytest
from django.contrib import messages
from django.db import InterfaceError, OperationalError, connection
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.template.response import TemplateResponse
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import include, path

from keeptrusts_runners import errors, ids
from keeptrusts_runners.console import access, panels, refusals
from keeptrusts_runners.console.access import Page, page
from keeptrusts_runners.console.responses import see_other
from keeptrusts_runners.identity import accounts, browser
from keeptrusts_runners.identity.models import Membership, User
from keeptrusts_runners.identity.scopes import Scope
from keeptrusts_runners.identity.tenancy import organization_scope

# --- the pages under test --------------------------------------------------------------------


@page()
def whoami(request: Page) -> HttpResponse:
    seen = Membership.objects.count()
    return HttpResponse(
        f"{request.principal.account} {request.organization_name} {seen} {request.now.tzinfo}"
    )


@page(Scope.AUDIT)
def audit(request: Page) -> HttpResponse:
    return HttpResponse("audit")


@page()
def members(request: Page) -> HttpResponse:
    """Hands the template a queryset that nobody has asked for yet."""
    return TemplateResponse(request, "console/_empty.html", {"text": Membership.objects.all()})


@page()
def thing(request: Page, number: int) -> HttpResponse:
    if number == 1:
        raise errors.NotFound("Here is a detail that must not be told.")
    raise Http404("no such thing")


@page(Scope.WRITE, methods=("POST",))
def rename(request: Page) -> HttpResponse:
    """Changes a row, then fails."""
    Membership.objects.update(role="viewer")
    raise errors.StateConflict(current_state="completed", allowed_verbs=["retry", "note"])


@page(Scope.WRITE, methods=("POST",))
def moved(request: Page) -> HttpResponse:
    messages.success(request, "Session cancelled.")
    return HttpResponseRedirect("/whoami")


@page(Scope.WRITE, methods=("POST",))
def refused(request: Page) -> HttpResponse:
    raise errors.field_error("/reason", "required", "Say why.")


@page()
def slow(request: Page) -> HttpResponse:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_sleep(5)")
    return HttpResponse()


def _sleep() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_sleep(5)")


@page()
def slow_panel(request: Page) -> HttpResponse:
    panel = panels.load(_sleep)
    return HttpResponse(f"{panel.available} {Membership.objects.count()}")


@page()
def broken(request: Page) -> HttpResponse:
    raise RuntimeError("secret detail")


@page()
def framed(request: Page) -> HttpResponse:
    return render(request, "base.html")


urlpatterns = [
    path("whoami", whoami),
    path("audit", audit),
    path("members", members),
    path("things/<int:number>", thing),
    path("rename", rename),
    path("moved", moved),
    path("refused", refused),
    path("slow", slow),
    path("slow-panel", slow_panel),
    path("broken", broken),
    path("framed", framed),
    path("anonymous", lambda request: see_other("/whoami")),
    path("", include("keeptrusts_runners.console.urls")),
]
handler400 = refusals.bad_request
handler403 = refusals.permission_denied
handler404 = refusals.page_not_found
handler500 = refusals.server_error

pytestmark = pytest.mark.urls(__name__)


# --- people ----------------------------------------------------------------------------------


def person(*roles: str) -> tuple[Client, User, list[UUID]]:
    """Somebody signed in, with each role in an organization of its own."""
    user = User.objects.create_user(f"{ids.new()}@example.com")
    organizations = [_join(user, role) for role in roles]
    client = Client(raise_request_exception=False)
    client.force_login(user)
    return client, user, organizations


def _join(user: User, role: str) -> UUID:
    organization = accounts.create_organization(f"Org {role}")
    with organization_scope(organization.id):
        accounts.add_member(organization.id, user, role)
    return organization.id


def without_tokens(html: bytes) -> bytes:
    """What differs between two drawings of the same page."""
    html = re.sub(rb'(csrfmiddlewaretoken"\s+value=")[^"]*', rb"\1", html)
    html = re.sub(rb'(name="next"\s+value=")[^"]*', rb"\1", html)
    return re.sub(rb'(server-time"\s+content=")[^"]*', rb"\1", html)


# --- who gets in -----------------------------------------------------------------------------


def test_a_member_acts_in_their_organization_and_sees_only_its_rows() -> None:
    client, user, _ = person("viewer")
    person("viewer")
    text = client.get("/whoami").content.decode()
    assert text == f"{ids.encode('user', user.pk)} Org viewer 1 UTC"


def test_a_stranger_is_sent_to_sign_in_and_back() -> None:
    response = Client().get("/whoami?state=failed")
    assert response.status_code == 302
    assert response["Location"] == "/sign-in?next=%2Fwhoami%3Fstate%3Dfailed"


def test_a_stranger_who_posts_is_told_that_nothing_was_sent() -> None:
    client = Client()
    response = client.post("/moved", headers={"Referer": "http://testserver/whoami"})
    assert response.status_code == 303
    assert response["Location"] == "/sign-in?next=%2Fwhoami"
    assert b"nothing was sent" in client.get(response["Location"]).content


def test_a_fragment_says_signed_out_instead_of_becoming_a_sign_in_page() -> None:
    response = Client().get("/whoami", headers={"HX-Request": "true"})
    assert response.status_code == 401
    assert b"<html" not in response.content
    assert b'target="_blank"' in response.content


def test_a_page_without_the_scope_names_it() -> None:
    client, _, _ = person("operator")
    response = client.get("/audit")
    assert response.status_code == 403
    assert b"runners:audit" in response.content
    assert b"Operator in Org operator" in response.content


def test_access_ends_with_the_membership() -> None:
    client, user, (organization,) = person("viewer")
    assert client.get("/whoami").status_code == 200
    with organization_scope(organization):
        accounts.remove_member(organization, user.pk)
    assert client.get("/whoami")["Location"].startswith("/choose-organization")
    assert b"belongs to no organization" in client.get("/choose-organization").content


def test_access_ends_with_the_account() -> None:
    client, user, _ = person("viewer")
    User.objects.filter(pk=user.pk).update(is_active=False)
    assert client.get("/whoami")["Location"].startswith("/sign-in")


def test_who_belongs_to_several_organizations_chooses() -> None:
    client, _, (_, second) = person("viewer", "operator")
    response = client.get("/whoami")
    assert response["Location"] == "/choose-organization?next=%2Fwhoami"
    answer = client.post("/choose-organization", {"organization": second, "next": "/whoami"})
    assert (answer.status_code, answer["Location"]) == (303, "/whoami")
    assert b"Org operator" in client.get("/whoami").content


def test_an_organization_of_others_cannot_be_chosen() -> None:
    client, _, _ = person("viewer", "operator")
    _, _, (foreign,) = person("admin")
    client.post("/choose-organization", {"organization": foreign})
    assert client.get("/whoami").status_code == 303


# --- what a view may rely on -----------------------------------------------------------------


def test_lazy_querysets_are_drawn_inside_the_organization() -> None:
    client, _, _ = person("viewer")
    assert b"Membership: viewer" in client.get("/members").content


def test_a_refusal_undoes_the_transaction_and_says_what_stands() -> None:
    client, user, (organization,) = person("operator")
    response = client.post("/rename", headers={"Referer": "http://testserver/things/9"})
    assert response.status_code == 409
    assert b"Completed" in response.content
    assert b"retry, note" in response.content
    assert b'href="/things/9"' in response.content
    with organization_scope(organization):
        assert Membership.objects.get(user=user).role == "operator"


def test_a_refused_form_names_the_field() -> None:
    response = person("operator")[0].post("/refused")
    assert response.status_code == 422
    assert b"Say why." in response.content
    assert b"<title>Error: " in response.content


def test_a_post_leads_on_with_303_and_a_flash() -> None:
    client, _, _ = person("operator")
    assert client.post("/moved").status_code == 303
    assert b"Session cancelled." in client.get("/framed").content
    assert b"Session cancelled." not in client.get("/framed").content


def test_another_method_is_refused_with_the_list_of_those_allowed() -> None:
    client, _, _ = person("operator")
    response = client.get("/moved")
    assert (response.status_code, response["Allow"]) == (405, "POST")


def test_pages_are_kept_out_of_caches() -> None:
    response = person("viewer")[0].get("/whoami")
    assert response["Cache-Control"] == "private, no-store"
    assert {"Cookie", "HX-Request"} <= set(response["Vary"].split(", "))


def test_a_page_costs_five_queries_before_its_own() -> None:
    """Session, user, memberships, scope, clock and limit; and the view's one."""
    client, _, _ = person("viewer")
    with CaptureQueriesContext(connection) as queries:
        client.get("/whoami")
    statements = [q["sql"] for q in queries if not q["sql"].startswith(("BEGIN", "COMMIT"))]
    assert len(statements) == 6, statements


# --- errors ----------------------------------------------------------------------------------


def test_not_there_and_not_yours_are_the_same_page() -> None:
    client, _, _ = person("viewer")
    foreign, unknown = (
        client.get(path, headers={"X-Request-Id": "same"}) for path in ("/things/1", "/things/2")
    )
    assert foreign.status_code == unknown.status_code == 404
    assert without_tokens(foreign.content) == without_tokens(unknown.content)
    assert b"must not be told" not in foreign.content


def test_an_address_that_no_route_knows_is_explained_too() -> None:
    response = person("viewer")[0].get("/nowhere")
    assert response.status_code == 404
    assert b"Nothing here" in response.content


def test_a_page_that_reads_too_long_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access, "READ_TIMEOUT", "50ms")
    response = person("viewer")[0].get("/slow")
    assert response.status_code == 503
    assert response["Retry-After"] == "2"
    assert b"Narrow the filter" in response.content


def test_a_slow_panel_fails_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access, "READ_TIMEOUT", "50ms")
    assert person("viewer")[0].get("/slow-panel").content == b"False 1"


@pytest.mark.parametrize("error", [OperationalError, InterfaceError])
def test_a_lost_database_is_a_page_drawn_without_it(
    monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    def lost(request: HttpRequest) -> None:
        raise error("connection refused to 10.0.0.3")

    monkeypatch.setattr(browser, "principal_for", lost)
    response = Client().get("/whoami")
    assert response.status_code == 503
    assert response["Retry-After"] == "5"
    assert b"Nothing was written" in response.content
    assert b"10.0.0.3" not in response.content


def test_a_fault_of_ours_tells_nothing_but_the_request_id() -> None:
    response = person("viewer")[0].get("/broken", headers={"X-Request-Id": "find-me"})
    assert response.status_code == 500
    assert b"secret detail" not in response.content
    assert b"find-me" in response.content


def test_a_forged_form_is_explained() -> None:
    client = Client(enforce_csrf_checks=True)
    response = client.post("/preferences/theme", {"theme": "dark"})
    assert response.status_code == 403
    assert b"form is out of date" in response.content


def test_every_answer_forbids_inline_code() -> None:
    for url in ("/framed", "/nowhere", "/sign-in"):
        policy = person("viewer")[0].get(url)["Content-Security-Policy"]
        assert "unsafe" not in policy
        assert "default-src 'none'" in policy
