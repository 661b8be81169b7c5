"""Dispatching from the console: one form is one session, and says what the API would say."""

from __future__ import annotations

import html
import json
import re
import subprocess
from typing import Any

import pytest
from django.test import Client

from keeptrusts_runners import ids
from profiles import catalog
from profiles.models import RunnerProfile
from sessions.models import RunnerSession
from tests import factories
from tests.browsers import at_most, browser, page_of, text_of
from tests.people import Org

NEW = "/runners/sessions/new"


@pytest.fixture
def org() -> Org:
    return Org()


@pytest.fixture
def on(org: Org) -> RunnerProfile:
    return factories.profile(org, name="builders")


def opened(client: Client, query: str = "") -> dict[str, str]:
    """What the form holds when it is opened, as a browser would send it."""
    form = client.get(NEW + query).context["form"]
    return {field.name: str(field.value() or "") for field in form}


def sessions(org: Org) -> list[RunnerSession]:
    with org.scope():
        return list(RunnerSession.objects.order_by("id"))


def profile_id(on: RunnerProfile) -> str:
    return ids.encode("prof", on.id)


def test_the_only_profile_is_chosen_and_described(org: Org, on: RunnerProfile) -> None:
    factories.asking(org)
    factories.pending(org, on)
    text = text_of(browser(org.operator).get(NEW))
    assert "Live executors 1" in text
    assert "Queue now 1 waiting, 0 active" in text
    assert "none: no revision is pinned" in text


def test_of_several_profiles_each_is_told_with_its_queue_and_leads_to_its_form(
    org: Org, on: RunnerProfile
) -> None:
    factories.profile(org, name="testers")
    archived = factories.profile(org, name="retired")
    org.operator.api.delete(f"/runners/profiles/{profile_id(archived)}")
    factories.pending(org, on)
    client = browser(org.operator)
    with at_most(11):
        response = client.get(NEW)
    assert "builders Active runner none 1 0 0 –" in text_of(response)
    assert "testers Active runner none 0 0 0 –" in text_of(response)
    assert "retired" not in text_of(response)
    address = f"{NEW}?profile_id={profile_id(on)}"
    assert f'href="{address}"' in response.content.decode()
    assert "Queue now 1 waiting" in text_of(client.get(address))


def test_of_several_profiles_one_is_chosen_first(org: Org, on: RunnerProfile) -> None:
    factories.profile(org)
    client = browser(org.operator)
    assert client.get(NEW).context["form"] is None
    assert client.get(f"{NEW}?profile_id={profile_id(on)}").context["form"] is not None


def test_what_was_typed_is_dispatched(org: Org, on: RunnerProfile) -> None:
    with org.scope():
        for version in ("1", "2"):
            catalog.publish_harness(
                on.id, {"version": version, "image_ref": "a"}, by=org.admin.principal
            )
    client = browser(org.operator)
    form = client.get(NEW).context["form"]
    first = {text: value for value, text in form.fields["harness_id"].choices}["Pin 1"]
    given = opened(client) | {
        "harness_id": first,
        "task_id": "task_1",
        "input": '{"job": "collect",\r\n "n": 1.5}',
        "labels": "env=prod",
        "priority": "7",
        "timeout_seconds": "60",
        "concurrency_key": "k",
        "concurrency_limit": "2",
        "side_effects": "resumable",
        "not_before": "2026-01-01T00:00:00Z",
    }
    response = client.post(NEW, given)
    assert response.status_code == 303
    (made,) = sessions(org)
    assert response["Location"] == page_of(made)
    with org.scope():
        assert made.harness is not None
        assert made.harness.version == "1"
    assert made.input == {"job": "collect", "n": 1.5}
    assert (made.labels, made.priority, made.timeout_seconds) == ({"env": "prod"}, 7, 60)
    assert (made.concurrency_key, made.concurrency_limit) == ("k", 2)
    assert made.side_effects == "resumable"
    assert made.dispatched_by == org.operator.principal.actor


@pytest.mark.proves("api.idempotency-key")
def test_the_same_form_sent_twice_is_one_session(org: Org, on: RunnerProfile) -> None:
    client = browser(org.operator)
    given = opened(client) | {"task_id": "t"}
    first, second = client.post(NEW, given), client.post(NEW, given)
    assert first["Location"] == second["Location"]
    assert len(sessions(org)) == 1


def test_the_same_form_with_other_values_asks_before_it_dispatches_again(
    org: Org, on: RunnerProfile
) -> None:
    client = browser(org.operator)
    given = opened(client) | {"task_id": "t"}
    client.post(NEW, given)
    changed = client.post(NEW, given | {"task_id": "u"})
    assert changed.status_code == 409
    assert "has dispatched a session already" in text_of(changed)
    assert len(sessions(org)) == 1
    again = {field.name: str(field.value() or "") for field in changed.context["form"]}
    assert client.post(NEW, again).status_code == 303
    assert [each.task_id for each in sessions(org)] == ["t", "u"]


@pytest.mark.parametrize(
    ("changed", "field", "said"),
    [
        ({"task_id": ""}, "task_id", "required"),
        ({"input": '{\n  "a": }'}, "input", "line 2, column 8"),
        ({"input": '{"a": 1, "a": 2}'}, "input", "appears twice"),
        ({"input": "[1]"}, "input", "This must be an object"),
        ({"priority": "1001"}, "priority", "at most 1000"),
        ({"labels": "x"}, "labels", "Line 1"),
        ({"not_before": "tomorrow"}, "not_before", "instant with a zone"),
        ({"not_before": "2999-01-01T00:00:00Z"}, "not_before", "days ahead"),
        ({"concurrency_limit": "2"}, "concurrency_limit", "goes with a concurrency_key"),
    ],
)
def test_what_is_refused_is_said_at_its_field_and_kept(
    org: Org, on: RunnerProfile, changed: dict[str, str], field: str, said: str
) -> None:
    client = browser(org.operator)
    response = client.post(NEW, opened(client) | {"task_id": "t"} | changed)
    assert response.status_code == 422
    assert f'href="#id_{field}"' in response.content.decode()
    assert said in text_of(response)
    assert response.context["form"][field].value() == changed[field]
    assert not sessions(org)


def test_a_revision_taken_out_of_use_meanwhile_is_not_pinned(org: Org, on: RunnerProfile) -> None:
    with org.scope():
        made = catalog.publish_harness(
            on.id, {"version": "1", "image_ref": "a"}, by=org.admin.principal
        )
    client = browser(org.operator)
    given = opened(client) | {"task_id": "t", "harness_id": ids.encode("harn", made.id)}
    with org.scope():
        catalog.deprecate_harness(on.id, made.id, by=org.admin.principal)
    assert client.post(NEW, given).status_code == 422
    assert not sessions(org)


def test_an_archived_profile_takes_none(org: Org, on: RunnerProfile) -> None:
    client = browser(org.operator)
    given = opened(client) | {"task_id": "t"}
    with org.scope():
        by = org.admin.principal
        catalog.archive_profile(catalog.for_update(on.id, by=by), by=by)
    response = client.post(NEW, given)
    assert response.status_code == 409
    assert "archived" in text_of(response)
    assert not sessions(org)


def test_who_lacks_the_scope_is_told_whom_to_ask(org: Org, on: RunnerProfile) -> None:
    admin = org.admin.user.email
    for response in (browser(org.viewer).get(NEW), browser(org.viewer).post(NEW, {})):
        assert response.status_code == 403
        assert admin in text_of(response)
        assert "runners:dispatch" in text_of(response)


def test_an_outsider_begins_with_nothing_of_ours(org: Org, on: RunnerProfile) -> None:
    session = ids.encode("sess", factories.pending(org, on).id)
    client = browser(Org().admin)
    for query in (f"?from={session}", f"?profile_id={profile_id(on)}", "?from=nonsense"):
        assert client.get(NEW + query).status_code == 404
    assert client.post(NEW, {"profile_id": profile_id(on)}).status_code == 404


# --- again, and for a shell ------------------------------------------------------------------


def test_dispatching_again_begins_with_the_same_values_and_shows_what_changed(
    org: Org, on: RunnerProfile
) -> None:
    like = factories.pending(
        org, on, task_id="t", input={"a": [1]}, labels={"env": "prod"}, priority=3
    )
    client = browser(org.operator)
    given = opened(client, f"?from={ids.encode('sess', like.id)}")
    preview = client.post(NEW, given | {"preview": "1"})
    assert preview.status_code == 200
    assert "The same values as the session it began with." in text_of(preview)
    preview = client.post(NEW, given | {"priority": "9", "preview": "1"})
    assert "Priority 3 9" in text_of(preview)
    assert len(sessions(org)) == 1
    client.post(NEW, given)
    _, made = sessions(org)
    for name in ("task_id", "input", "labels", "priority", "timeout_seconds", "max_attempts"):
        assert getattr(made, name) == getattr(like, name)
    assert made.retry_of_id is None


def test_the_curl_is_the_same_dispatch_and_holds_no_secret(org: Org, on: RunnerProfile) -> None:
    client = browser(org.operator)
    nasty = {"quote": "it's $HOME `id` \\"}
    given = opened(client) | {"task_id": "a'b", "input": json.dumps(nasty), "preview": "1"}
    response = client.post(NEW, given)
    (command,) = re.findall(r'data-copy="(curl[^"]*)"', response.content.decode())
    script = 'curl() { printf "%s\\0" "$@"; }\n' + html.unescape(command)
    done = subprocess.run(["sh", "-c", script], env={"TOKEN": "T"}, capture_output=True, check=True)
    sent = done.stdout.decode().split("\0")
    assert "Authorization: Bearer T" in sent
    body: dict[str, Any] = json.loads(sent[sent.index("-d") + 1])
    assert body == {"profile_id": profile_id(on), "task_id": "a'b", "input": nasty}
    assert org.operator.api.post("/runners/sessions", body).status_code == 201
