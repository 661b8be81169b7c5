"""The find box: an id leads to its object, and to no more than the organization has."""

from __future__ import annotations

import pytest
from django.urls import reverse

from keeptrusts_runners import ids
from keeptrusts_runners.console import finding
from tests import factories
from tests.browsers import browser, page_of, text_of
from tests.grants import asking
from tests.people import Org

GO = "/runners/go"


@pytest.fixture
def org() -> Org:
    made = Org()
    assert all((made.viewer, made.operator, made.runner))
    return made


def test_an_id_leads_straight_to_its_object(org: Org) -> None:
    session = factories.running(org)
    text = ids.encode("sess", session.id)
    grant = asking.requested(org, session)
    expected = {
        text: page_of(session),
        f"  {text.upper()} ": page_of(session),
        f"{text}#3": page_of(session),
        f"https://runners.test/runners/sessions/{text}/events": page_of(session),
        ids.encode("prof", session.profile_id): reverse("profile", args=[session.profile_id]),
        ids.encode("user", org.viewer.user.id): reverse("member", args=[org.viewer.user.id]),
        ids.encode("sa", org.runner.account.id): reverse(
            "service_account", args=[org.runner.account.id]
        ),
        grant["id"]: f"{page_of(session)}/grants/{grant['id']}",
    }
    client = browser(org.admin)
    for typed, address in expected.items():
        answer = client.get(GO, {"q": typed})
        assert (answer.status_code, answer["Location"]) == (302, address), typed


def test_whoever_may_not_see_an_object_does_not_find_it(org: Org) -> None:
    text = ids.encode("user", org.operator.user.id)
    assert browser(org.viewer).get(GO, {"q": text}).status_code == 404


def test_other_text_is_searched_for(org: Org) -> None:
    for text in ("nightly report", "state:failed", "sess_01k", "<b>"):
        answer = browser(org.viewer).get(GO, {"q": text})
        assert answer.status_code == 302
        assert answer["Location"] == finding.search_address(text)


@pytest.mark.proves("access.tenancy")
def test_a_foreign_id_is_as_unknown_as_any(org: Org) -> None:
    other = Org()
    theirs = factories.running(other)
    foreign = {
        "sess": theirs.id,
        "prof": theirs.profile_id,
        "grant": ids.decode("grant", asking.requested(other, theirs)["id"]),
    }
    client = browser(org.viewer)
    for prefix, value in foreign.items():
        texts = ids.encode(prefix, value), ids.encode(prefix, ids.new())
        pages = [client.get(GO, {"q": text}, headers={"X-Request-Id": "same"}) for text in texts]
        assert {page.status_code for page in pages} == {404}
        told = [text_of(page).replace(text, "…") for page, text in zip(pages, texts, strict=True)]
        assert told[0] == told[1]


def test_among_several_one_chooses(org: Org) -> None:
    one, other = (factories.pending(org) for _ in range(2))
    missing = ids.encode("sess", ids.new())
    text = f"{ids.encode('sess', one.id)} or {ids.encode('sess', other.id)}, not {missing}"
    page = browser(org.viewer).get(GO, {"q": text})
    assert page.status_code == 200
    assert page_of(one) in page.content.decode()
    assert page_of(other) in page.content.decode()
    assert f"No {missing} in" in text_of(page)


def test_nothing_typed_shows_where_one_can_go(org: Org) -> None:
    page = browser(org.viewer).get(GO)
    assert page.status_code == 200
    assert "/runners/approvals" in page.content.decode()


def test_hostile_text_is_inert(org: Org) -> None:
    session = ids.encode("sess", ids.new())
    page = browser(org.viewer).get(GO, {"q": f'{session} "><script>alert(1)</script>\x00'})
    assert page.status_code == 404
    assert b"<script>alert" not in page.content


def test_a_stranger_is_sent_to_sign_in() -> None:
    assert browser().get(GO, {"q": "x"}).status_code == 302
