"""Input, checkpoints, notes and what may be edited: the session's pages beside its overview."""

from __future__ import annotations

import hashlib
import json
from datetime import timedelta
from typing import Any

import pytest

from keeptrusts_runners import ids
from profiles import catalog
from sessions import claims, lifecycle, outcomes
from sessions.models import RunnerSession
from sessions.states import Verb
from tests import factories
from tests.browsers import at_most, browser, page_of, text_of
from tests.people import Org
from tests.sessions import roads

HOSTILE = "<script>alert(1)</script>"


@pytest.fixture
def org() -> Org:
    return Org()


def with_checkpoints(org: Org, number: int = 2) -> RunnerSession:
    session = factories.running(org)
    with org.scope():
        for n in range(number):
            claims.checkpoint(
                session.id, {"n": n, "x": HOSTILE}, by=org.runner.principal, label=f"label {n}"
            )
    return session


def paused(org: Org, session: RunnerSession) -> None:
    with org.scope():
        lifecycle.pause(session.id, by=org.operator.principal)
    body = {"state": "paused"}
    answer = factories.session_api(org, session).patch(factories.path(session), body)
    assert answer.status_code == 200, answer.content


def test_the_input_is_shown_and_downloaded_with_its_digest(org: Org) -> None:
    given = {"deep": {"list": [1, HOSTILE]}, "ü": None}
    session = factories.pending(org, input=given)
    client = browser(org.viewer)
    page = client.get(page_of(session, "input"))
    file = client.get(page_of(session, "input.json"))
    assert json.loads(file.content) == given
    assert file["Content-Disposition"] == f'attachment; filename="{session}-input.json"'
    assert file["X-Content-Type-Options"] == "nosniff"
    assert hashlib.sha256(file.content).hexdigest() in page.content.decode()
    assert b"<script>alert" not in page.content
    empty = factories.pending(org)
    assert "Dispatched without input." in text_of(client.get(page_of(empty, "input")))


def test_checkpoints_are_listed_and_shown(org: Org) -> None:
    session = with_checkpoints(org)
    client = browser(org.viewer)
    with at_most(9):
        text = text_of(client.get(page_of(session, "checkpoints")))
    assert "label 0" in text
    assert "label 1" in text
    one = client.get(page_of(session, "checkpoints", "2"))
    assert "Checkpoint 2: label 1" in text_of(one)
    assert b"<script>alert" not in one.content
    file = client.get(page_of(session, "checkpoints", "2.json"))
    digest = f"sha256:{hashlib.sha256(file.content).hexdigest()}"
    with org.scope():
        assert session.checkpoints.get(number=2).digest == digest
    for number in ("0", "3", str(2**70)):
        assert client.get(page_of(session, "checkpoints", number)).status_code == 404
    none = text_of(client.get(page_of(factories.pending(org), "checkpoints")))
    assert "A harness records them as it goes" in none


def test_an_ended_session_is_retried_from_the_checkpoint_that_is_open(org: Org) -> None:
    session = with_checkpoints(org)
    roads.end(org, session, Verb.COMPLETE)
    client = browser(org.operator)
    retry = page_of(session, "retry")
    place = page_of(session, "checkpoints", "1")
    assert f'href="{retry}?checkpoint=1"' in client.get(place).content.decode()
    assert "Retry from here" not in text_of(browser(org.viewer).get(place))
    assert "start from the last checkpoint (#2) instead" in text_of(client.get(retry))
    asked = client.get(f"{retry}?checkpoint=1")
    assert "It starts from checkpoint 1" in text_of(asked)
    assert '<input type="hidden" name="checkpoint" value="1"' in asked.content.decode()
    for unknown in ("3", "0", "-1", "x", "99999999999999999999"):
        assert client.get(f"{retry}?checkpoint={unknown}").status_code == 404
        assert client.post(retry, {"checkpoint": unknown}).status_code == 404
    assert client.post(retry, {"checkpoint": "1"}).status_code == 303
    with org.scope():
        (made,) = RunnerSession.objects.filter(retry_of=session)
        (own,), first = made.checkpoints.all(), session.checkpoints.get(number=1)
        assert (own.number, own.data, own.digest) == (1, first.data, first.digest)
    shown = client.get(page_of(made, "checkpoints", "1"))
    assert "from the session that this one retries" in text_of(shown)


def test_a_paused_session_resumes_from_the_checkpoint_that_is_open(org: Org) -> None:
    session = with_checkpoints(org)
    client = browser(org.operator)
    assert "Resume from here" not in text_of(client.get(page_of(session, "checkpoints", "1")))
    paused(org, session)
    page = client.get(page_of(session, "checkpoints", "1"))
    assert "Resume from here" in text_of(page)
    viewers = browser(org.viewer).get(page_of(session, "checkpoints", "1"))
    assert "Resume from here" not in text_of(viewers)
    with org.scope():
        first = session.checkpoints.get(number=1)
    named = {"checkpoint_id": ids.encode("ckpt", first.id)}
    assert client.post(page_of(session, "resume"), {"checkpoint_id": "ckpt_1"}).status_code == 404
    assert client.post(page_of(session, "resume"), named).status_code == 303
    with org.scope():
        session.refresh_from_db()
    assert session.resume_from == 1
    assert "checkpoint #1" in text_of(client.get(page_of(session)))


class TestNotes:
    def test_a_note_stands_among_the_events(self, org: Org) -> None:
        session = factories.running(org)
        with org.scope():
            outcomes.end(session.id, Verb.COMPLETE, {}, by=org.runner.principal)
        client = browser(org.operator)
        assert (
            b'action="' + page_of(session, "note").encode() in client.get(page_of(session)).content
        )
        response = client.post(page_of(session, "note"), {"message": f"Asked. {HOSTILE}"})
        assert response.status_code == 303
        followed = client.get(response["Location"])
        assert "Asked. &lt;script&gt;" in followed.content.decode()
        assert "Note added to the record." in text_of(followed)

    def test_an_empty_one_is_refused_and_asked_for_again(self, org: Org) -> None:
        response = browser(org.operator).post(page_of(factories.pending(org), "note"), {})
        assert response.status_code == 422
        assert b'href="#id_message"' in response.content

    def test_viewers_and_outsiders_leave_none(self, org: Org) -> None:
        session = factories.pending(org)
        assert b"Add note" not in browser(org.viewer).get(page_of(session)).content
        given = {"message": "x"}
        assert browser(org.viewer).post(page_of(session, "note"), given).status_code == 403
        outsider = browser(Org().operator)
        assert outsider.post(page_of(session, "note"), given).status_code == 404


class TestEditing:
    def edited(self, org: Org, session: RunnerSession, **given: str) -> Any:
        return browser(org.operator).post(page_of(session, "edit"), {"priority": "0"} | given)

    def test_priority_and_labels_change(self, org: Org) -> None:
        session = factories.pending(org, labels={"env": "prod"})
        page = browser(org.operator).get(page_of(session, "edit"))
        assert b"env=prod" in page.content
        labels = "env=test\r\n\r\nteam = a=b"
        assert self.edited(org, session, priority="7", labels=labels).status_code == 303
        with org.scope():
            session.refresh_from_db()
        assert session.priority == 7
        assert session.labels == {"env": "test", "team": "a=b"}

    def test_a_deadline_is_moved(self, org: Org) -> None:
        session = factories.pending(org)
        later = session.created_at.replace(microsecond=0) + timedelta(hours=1)
        text = f"{later:%Y-%m-%dT%H:%M:%S}Z"
        assert self.edited(org, session, deadline_at=text).status_code == 303
        with org.scope():
            session.refresh_from_db()
        assert session.deadline_at == later

    @pytest.mark.parametrize(
        ("field", "value", "said"),
        [
            ("priority", "1001", "1000"),
            ("labels", "novalue", "a label is written key=value"),
            ("labels", "a=1\na=2", "a is there twice"),
            ("labels", "-a=1", "beginning and ending with a letter or digit"),
            ("deadline_at", "tomorrow", "must be"),
            ("deadline_at", "2020-01-01T00:00:00Z", "This lies in the past."),
        ],
    )
    def test_what_cannot_be_is_told_and_kept(
        self, org: Org, field: str, value: str, said: str
    ) -> None:
        session = factories.pending(org)
        response = self.edited(org, session, **{field: value})
        assert response.status_code == 422
        assert said in text_of(response)
        assert value.split("\n")[0].encode() in response.content

    def test_it_is_for_operators(self, org: Org) -> None:
        session = factories.pending(org)
        assert browser(org.viewer).get(page_of(session, "edit")).status_code == 403
        assert browser(Org().operator).get(page_of(session, "edit")).status_code == 404


def test_a_full_limit_names_who_holds_it(org: Org) -> None:
    on = factories.profile(org, max_concurrent_sessions=1)
    holder = factories.running(org, factories.pending(org, on))
    page = browser(org.viewer).get(page_of(factories.pending(org, on)))
    assert "Its profile runs 1 of at most 1 at once. The slots are held by" in text_of(page)
    assert page_of(holder) in page.content.decode()


def test_refused_claims_are_told_with_their_code(org: Org) -> None:
    on = factories.profile(org)
    session = factories.pending(org, on)
    with org.scope():
        catalog.pause_profile(on.id, by=org.admin.principal)
    refused = org.runner.api.post(factories.path(session, "claim"))
    assert refused.status_code == 409
    text = text_of(browser(org.viewer).get(page_of(session)))
    assert "Refused of late" in text
    assert refused.json()["code"] in text


@pytest.mark.parametrize("name", ["input", "input.json", "checkpoints", "checkpoints/1"])
def test_another_organization_sees_nothing(org: Org, name: str) -> None:
    session = with_checkpoints(org, 1)
    assert browser(org.viewer).get(page_of(session, name)).status_code == 200
    assert browser(Org().admin).get(page_of(session, name)).status_code == 404
