"""What operators rely on in an incident, seen in a browser: permalinks, frozen choices, clocks, and
evidence that says where it is broken."""

from __future__ import annotations

import re
import tempfile
from datetime import timedelta
from pathlib import Path

import pytest
from django.db import connections

from grants.models import PermissionGrant
from keeptrusts_runners import clock, ids
from keeptrusts_runners.evidence.verifier.verification import verify_bundle
from sessions import batch_work
from sessions.models import RunnerSession
from sessions.states import Verb
from tests import factories
from tests.browser.driving import Page, Site, expect
from tests.browser.world import World, id_of
from tests.browsers import browser, page_of
from tests.grants import asking
from tests.people import Org
from tests.sessions import roads

# --- permalinks ------------------------------------------------------------------------------


@pytest.mark.proves("console.permalink")
def test_a_permalink_shows_its_row_under_a_filter_that_would_hide_it(
    site: Site, world: World
) -> None:
    session = factories.running(world, world.dispatch("linked"))
    for _ in range(3):
        world.record(session, [{"message": "more"}] * 400)
    page = site.page(world.viewer, f"{page_of(session)}/events?at=700")
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.locator("#e700 > a").focus()
    page.keyboard.press("y")
    expect(page.locator("#status")).to_have_text("Copied")
    link = str(page.evaluate("navigator.clipboard.readText()"))
    address, _, fragment = link.partition("#")
    assert fragment == "e700"

    other = site.page(world.auditor, f"{address}&level=error#{fragment}")
    row = other.locator("#e700")
    expect(row).to_be_in_viewport()
    other.wait_for_function("document.querySelector('#e700:target > a') === document.activeElement")


# --- a long ledger ---------------------------------------------------------------------------

LONG = 6_000
ROWS = "[...document.querySelectorAll('.log li')].map(row => Number(row.dataset.seq))"
# The row in the middle of the window, and how far from its top.
IN_SIGHT = """() => {
  const row = document.elementFromPoint(innerWidth / 2, innerHeight / 2).closest("li[data-seq]");
  return [row.id, row.getBoundingClientRect().top];
}"""


@pytest.mark.proves("console.windows")
def test_windows_join_as_their_reader_comes_to_an_edge_and_what_is_read_stays_in_place(
    site: Site, world: World
) -> None:
    session = factories.running(world, world.dispatch("long"))
    for _ in range(LONG // 500):
        world.record(session, [{"message": "more"}] * 500)
    page = site.page(world.viewer, f"{page_of(session)}/events?at=3000")
    first, *_, last = page.evaluate(ROWS)
    for way, edge in (("End", last), ("Home", first)):
        for _ in range(5):
            held = joined(page, way)
            assert len(held) <= 2_000
            assert held == list(range(held[0], held[-1] + 1)), "a gap, or a row twice"
        assert held[-1] > edge if way == "End" else held[0] < edge


def joined(page: Page, way: str) -> list[int]:
    """The rows after an edge was come to. Rows out of sight have a height that is guessed, so that
    one press may fall short of it."""
    before = page.evaluate(ROWS)
    for _ in range(300):
        page.keyboard.press(way)
        page.evaluate("new Promise(done => requestAnimationFrame(() => setTimeout(done, 50)))")
        held = page.evaluate(ROWS)
        if held != before:
            return list(held)
    raise AssertionError(f"nothing joined at the {way}")


@pytest.mark.proves("console.windows")
def test_the_row_that_is_read_does_not_move_when_a_window_joins(site: Site, world: World) -> None:
    session = factories.running(world, world.dispatch("still"))
    for _ in range(4):
        world.record(session, [{"message": "more"}] * 500)
    page = site.page(world.viewer, f"{page_of(session)}/events?at=1000")
    held = page.evaluate(ROWS)
    with page.expect_response(lambda answer: "before=" in answer.url):
        page.evaluate("scrollTo(0, 400)")
        row, top = page.evaluate(IN_SIGHT)
    page.wait_for_function(f"held => ({ROWS})[0] < held", arg=held[0])
    now = page.evaluate("id => document.getElementById(id).getBoundingClientRect().top", row)
    assert abs(now - top) <= 2


# --- many at once ----------------------------------------------------------------------------

MANY = 412


@pytest.mark.proves("console.bulk")
def test_a_frozen_choice_of_many_is_what_was_shown(site: Site, org: Org) -> None:
    on = factories.profile(org, name="crowded")
    first, *_ = factories.queue(org, on, MANY)
    page = site.page(org.operator, "/runners/sessions?view=queue&q=profile:crowded")
    expect(page.locator("main tbody tr")).to_have_count(50)
    page.get_by_role("link", name=f"Cancel all {MANY} matching").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text(f"{MANY} sessions")

    with org.scope():
        (done,) = RunnerSession.objects.filter(id=first)
    roads.end(org, factories.running(org, done), Verb.COMPLETE)
    later = factories.pending(org, on)
    page.get_by_label("Reason").fill("the queue was filled by mistake")
    page.get_by_label("How many").fill(str(MANY))
    page.get_by_role("button", name="Cancel").click()
    # One is over: whoever acts on many is told how many they are now.
    page.get_by_label("How many").fill(str(MANY - 1))
    page.get_by_role("button", name="Cancel").click()
    expect(page).to_have_url(re.compile("/batches/batch_"))
    while any(batch_work.run_once().values()):
        pass
    with org.scope():
        left = dict(
            RunnerSession.objects.filter(profile_id=on.id)
            .exclude(state="cancelled")
            .values_list("id", "state")
        )
    assert left == {first: "completed", later.id: "pending"}
    page.reload()
    expect(page.locator("main")).to_contain_text(f"{MANY - 1}")


# --- clocks ----------------------------------------------------------------------------------


@pytest.mark.proves("console.clocks")
def test_both_clocks_of_a_grant_are_the_servers_whatever_the_readers_clock_says(
    site: Site, org: Org
) -> None:
    session = asking.under(org)
    request = asking.requested(org, session, ttl_seconds=60)
    place = f"{page_of(session)}/grants/{request['id']}"
    assert asking.approve(org.approver.api, request).status_code == 200
    ahead = site.context(org.approver).new_page()
    site.watch(ahead)
    ahead.clock.install()
    ahead.goto(place)
    shown = ahead.locator("time[data-relative=countdown]").first
    expect(shown).to_have_text(re.compile(r"^in (1m 00s|5\d s)$"))
    # The reader's clock jumps; what is left is counted from the server's.
    ahead.clock.set_system_time(ahead.evaluate("Date.now()") + 600_000)
    ahead.reload()
    expect(ahead.locator("time[data-relative=countdown]").first).to_have_text(
        re.compile(r"^in (1m 00s|[2-5]\d s)$")
    )
    with org.scope():
        PermissionGrant.objects.filter(session=session).update(
            expires_at=clock.now() - timedelta(seconds=1)
        )
    ahead.reload()
    expect(ahead.locator("main .state", has_text="Expired").first).to_be_visible()
    expect(ahead.get_by_text("Revoke", exact=False)).to_have_count(0)


# --- evidence --------------------------------------------------------------------------------


@pytest.mark.proves("console.evidence")
def test_a_changed_byte_is_named_in_the_page_and_by_the_offline_verifier(
    site: Site, org: Org
) -> None:
    session = factories.running(org)
    page = site.page(org.auditor, f"{page_of(session)}/evidence")
    verify(page)
    expect(page.locator("main .state", has_text="Verified").first).to_be_visible()
    with connections["migrate"].cursor() as cursor:
        cursor.execute("ALTER TABLE runner_event DISABLE TRIGGER ALL")
        cursor.execute(
            "UPDATE runner_event SET body = set_byte(body, 3, get_byte(body, 3) # 1)"
            " WHERE session_id = %s AND seq = 3",
            [session.id],
        )
        cursor.execute("ALTER TABLE runner_event ENABLE TRIGGER ALL")
    verify(page)
    expect(page.locator("main")).to_contain_text(re.compile("[Bb]roken at record #?3"))
    with page.expect_download() as begun:
        page.get_by_role("link", name="Download the evidence bundle").click()
    with tempfile.TemporaryDirectory() as folder:
        bundle = Path(folder) / "bundle.tar"
        begun.value.save_as(bundle)
        told = verify_bundle(bundle)
    assert told.exit_code == 1
    assert [problem.seq for problem in told.problems][:1] == [3]


def verify(page: Page) -> None:
    page.get_by_role("button", name="Verify now").click()
    page.wait_for_load_state()


# --- other people's --------------------------------------------------------------------------


@pytest.mark.proves("console.outsiders")
def test_another_organization_finds_nothing_at_any_address_of_a_session(world: World) -> None:
    session, unknown = id_of(world.running), ids.encode("sess", ids.new())
    art = ids.encode("art", world.artifact.id)
    own = browser(world.admin).get(f"/runners/sessions/{session}")
    assert own.status_code == 200
    outsider = browser(Org().admin)
    for more in (
        "", "/head?tab=Events", "/events", "/events/rows?after=0", "/events/3", "/events.txt",
        "/events.ndjson", "/artifacts", f"/artifacts/{art}", f"/artifacts/{art}/preview",
        "/grants", "/checkpoints", "/input", "/evidence", "/evidence/bundle",
    ):  # fmt: skip
        foreign = outsider.get(f"/runners/sessions/{session}{more}")
        nobody = outsider.get(f"/runners/sessions/{unknown}{more}")
        assert foreign.status_code == nobody.status_code == 404, more


@pytest.fixture(scope="module")
def org(django_db_setup: None) -> Org:
    made = Org()
    assert all((made.operator, made.approver, made.auditor, made.admin, made.runner, made.viewer))
    return made
