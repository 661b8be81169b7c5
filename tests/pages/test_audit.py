"""The audit page: for auditors, by actor, verb, object and window."""

from __future__ import annotations

from typing import Any

import pytest

from keeptrusts_runners import clock, ids
from keeptrusts_runners.evidence import audit
from keeptrusts_runners.evidence.audit_models import AuditRecord
from profiles import catalog
from tests import factories
from tests.browsers import at_most, browser, instants, text_of
from tests.people import Org

AUDIT = "/runners/audit"


@pytest.fixture
def org() -> Org:
    return Org()


def verbs(response: Any) -> list[str]:
    return [row.record.verb for row in response.context["rows"]]


@pytest.mark.parametrize("role", ["viewer", "operator", "approver"])
def test_only_auditors_and_admins_read_it(org: Org, role: str) -> None:
    factories.profile(org)
    client = browser(getattr(org, role))
    assert client.get(AUDIT).status_code == 403
    assert b">Audit</a>" not in client.get("/runners").content
    assert browser(org.auditor).get(AUDIT).status_code == 200


def test_who_did_what_is_told_with_names_and_links(org: Org) -> None:
    on, by = factories.profile(org), org.operator.principal
    with org.scope():
        catalog.pause_profile(on.id, by=by)
    response = browser(org.auditor).get(f"{AUDIT}?object={ids.encode('prof', on.id)}")
    assert verbs(response) == ["profile.paused", "profile.created"]
    text = text_of(response)
    assert org.operator.user.email in text
    assert "Changed status" in text
    assert f'href="/runners/profiles/{ids.encode("prof", on.id)}"' in response.content.decode()


def test_an_actor_may_be_named_as_people_do(org: Org) -> None:
    on, by = factories.profile(org), org.operator.principal
    with org.scope():
        catalog.pause_profile(on.id, by=by)
    client = browser(org.auditor)
    response = client.get(f"{AUDIT}?actor={org.operator.user.email}")
    assert response.status_code == 303
    found = client.get(response["Location"])
    assert verbs(found) == ["profile.paused"]
    assert f"Actor: {org.operator.user.email}" in text_of(found)


def test_verb_and_window_narrow_it(org: Org) -> None:
    factories.profile(org)
    with org.scope():
        after = clock.rfc3339(clock.now())
    on = factories.profile(org)
    client = browser(org.auditor)
    assert len(verbs(client.get(f"{AUDIT}?verb=profile.created"))) == 2
    response = client.get(f"{AUDIT}?verb=profile.created&created_after={after}")
    assert [row.record.object for row in response.context["rows"]] == [ids.encode("prof", on.id)]
    assert "No record matches" in text_of(client.get(f"{AUDIT}?verb=profile.burnt"))


@pytest.mark.parametrize("query", ["created_after=x", "outcome=maybe", "x=1", "cursor=forged"])
def test_a_wrong_filter_is_explained_where_it_was_set(org: Org, query: str) -> None:
    response = browser(org.auditor).get(f"{AUDIT}?{query}")
    assert response.status_code == 400
    assert b'role="alert"' in response.content
    assert b"Filter records" in response.content


def test_a_record_opens_whole(org: Org) -> None:
    on = factories.profile(org)
    client = browser(org.auditor)
    with org.scope():
        record = AuditRecord.objects.get(object=ids.encode("prof", on.id))
    response = client.get(f"{AUDIT}/{ids.encode('aud', record.id)}")
    html = response.content.decode()
    assert bytes(record.digest).hex() in html
    assert (record.after or "none") in html
    assert "&quot;verb&quot;:&quot;profile.created&quot;" in html
    assert all(machine.endswith("Z") for machine, _, _ in instants(response))


@pytest.mark.proves("api.not-yours")
def test_another_organizations_record_is_not_there(org: Org) -> None:
    factories.profile(org)
    with org.scope():
        record = AuditRecord.objects.order_by("-id").first()
    assert record is not None
    client = browser(Org().auditor)
    assert client.get(f"{AUDIT}/{ids.encode('aud', record.id)}").status_code == 404
    assert not set(verbs(client.get(AUDIT))) & {"profile.created"}


def test_what_a_client_sent_is_shown_inert(org: Org) -> None:
    entry = audit.Entry("x.y", "<script>alert(1)</script>\u202e", "system", detail={"<b>": "</dl>"})
    with org.scope():
        audit.record(org.id, [entry])
    html = browser(org.auditor).get(f"{AUDIT}?verb=x.y").content.decode()
    assert "<script>alert" not in html
    assert "<b>" not in html
    assert "\u202e" not in html


def test_the_cost_does_not_depend_on_the_rows(org: Org) -> None:
    for _ in range(5):
        factories.running(org)
    client = browser(org.auditor)
    with at_most(8):
        assert client.get(AUDIT).status_code == 200
