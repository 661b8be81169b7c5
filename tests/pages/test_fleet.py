"""What the fleet page says, and what it costs."""

from __future__ import annotations

from profiles import catalog
from sessions import outcomes
from sessions.states import Verb
from tests import factories
from tests.browsers import at_most, browser, text_of
from tests.people import Org


def test_an_empty_fleet_says_what_to_do() -> None:
    text = text_of(browser(Org().viewer).get("/runners"))
    assert "No profiles yet." in text
    assert "Needs attention" not in text


def test_the_counters_are_exact() -> None:
    org = Org()
    on = factories.profile(org)
    for _ in range(3):
        factories.pending(org, on)
    factories.running(org, factories.pending(org, on))
    failed = factories.running(org, factories.pending(org, on))
    with org.scope():
        outcomes.end(failed.id, Verb.FAIL, {"error": {"code": "broken"}}, by=org.runner.principal)
    text = text_of(browser(org.viewer).get("/runners"))
    assert "Queued 3 " in text
    assert "Active 1 " in text
    assert "Failed, last 24 h 1 " in text


def test_another_organizations_fleet_is_not_counted() -> None:
    factories.pending(Org())
    assert "Queued 0 " in text_of(browser(Org().viewer).get("/runners"))


def test_a_mutable_tag_is_pointed_out() -> None:
    org = Org()
    on = factories.profile(org)
    with org.scope():
        catalog.publish_harness(
            on.id, {"version": "1", "image_ref": "registry/app:latest"}, by=org.admin.principal
        )
    assert "Mutable tag" in text_of(browser(org.viewer).get("/runners"))


def test_the_cost_does_not_depend_on_how_much_there_is() -> None:
    org = Org()
    client = browser(org.viewer)
    with at_most(9):
        client.get("/runners")
    for _ in range(5):
        factories.running(org)
        factories.pending(org)
    with at_most(9):
        assert client.get("/runners").status_code == 200
