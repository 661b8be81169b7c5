"""Pages that keep themselves fresh: signals, rows that do not jump, and a stream that is lost."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest

from tests import factories
from tests.browser.driving import Page, Site, expect
from tests.browser.gate import gate
from tests.browser.world import World, id_of
from tests.browsers import page_of

ROWS = "main tbody tr[id]"
STREAM = re.compile(r"/runners/stream")


def word(page: Page) -> Any:
    return page.locator("[data-live-word]").first


def live(page: Page) -> Page:
    expect(word(page)).to_have_text("Live")
    return page


@pytest.mark.proves("console.live")
def test_a_page_is_live_and_changes_when_it_is_told(site: Site, world: World) -> None:
    session = world.dispatch("to-be-cancelled")
    page = live(site.page(world.operator, page_of(session)))
    answer = world.operator.api.post(f"/runners/sessions/{id_of(session)}/cancel", {})
    assert answer.status_code == 200, answer.content
    expect(page.locator(".head .state").first).to_have_text("Cancelled")


@pytest.mark.proves("console.live")
def test_new_rows_are_announced_and_come_when_asked_for(site: Site, world: World) -> None:
    page = live(site.page(world.viewer, "/runners/sessions"))
    first, count = page.locator(ROWS).first.get_attribute("id"), page.locator(ROWS).count()
    made = [world.dispatch(f"new-{n}") for n in range(2)]
    show = page.locator("[data-live-show]")
    expect(show).to_have_text(re.compile(r"^2 new"))
    assert page.locator(ROWS).first.get_attribute("id") == first
    assert page.locator(ROWS).count() == count
    show.click()
    expect(page.locator(ROWS).first).to_have_attribute("id", f"row-{id_of(made[-1])}")
    expect(show).to_be_hidden()


def test_a_row_changes_in_place(site: Site, world: World) -> None:
    session = world.dispatch("changes-in-place")
    page = live(site.page(world.viewer, "/runners/sessions"))
    row = page.locator(f"#row-{id_of(session)}")
    expect(row.locator(".state")).to_have_text("Pending")
    world.operator.api.post(f"/runners/sessions/{id_of(session)}/cancel", {})
    expect(row.locator(".state")).to_have_text("Cancelled")


def test_nothing_moves_while_a_row_is_selected(site: Site, world: World) -> None:
    session = world.dispatch("selected")
    page = live(site.page(world.operator, "/runners/sessions"))
    row = page.locator(f"#row-{id_of(session)}")
    row.locator("[data-select]").check()
    expect(word(page)).to_have_text("Paused while rows are selected")
    with page.expect_response(lambda answer: answer.url.endswith("/runners/sessions")):
        world.operator.api.post(f"/runners/sessions/{id_of(session)}/cancel", {})
    expect(row.locator(".state")).to_have_text("Pending")
    page.keyboard.press("Escape")
    expect(word(page)).to_have_text("Live")


def test_updates_can_be_paused(site: Site, world: World) -> None:
    page = live(site.page(world.viewer, "/runners/sessions"))
    page.get_by_role("button", name="Pause updates").click()
    expect(word(page)).to_have_text("Paused")
    page.get_by_role("button", name="Resume updates").click()
    live(page)


@pytest.mark.proves("console.stream-loss")
def test_a_lost_stream_is_said_and_made_up_for_by_polling(site: Site, world: World) -> None:
    session = world.dispatch("while-blocked")
    with gate(site.url) as way:
        page = live(replace(site, url=way.url).page(world.viewer, page_of(session)))
        page.context.route(STREAM, lambda route: route.abort())
        way.cut()
        # What was just being fetched is cut as well, and may be said first.
        expect(word(page)).to_have_text(re.compile(r"^(Reconnecting \(\d s\)|Stale since .+)$"))
        expect(word(page)).to_have_text("Polling", timeout=10_000)
        world.operator.api.post(f"/runners/sessions/{id_of(session)}/cancel", {})
        expect(page.locator(".head .state").first).to_have_text("Cancelled", timeout=10_000)


@pytest.mark.proves("console.stream-loss")
def test_a_stream_that_comes_back_is_live_again(site: Site, world: World) -> None:
    with gate(site.url) as way:
        page = live(replace(site, url=way.url).page(world.viewer, "/runners/approvals"))
        page.context.route(STREAM, lambda route: route.abort())
        way.cut()
        expect(word(page)).to_have_text(re.compile("^(Reconnecting|Stale)"))
        page.context.unroute(STREAM)
        expect(word(page)).to_have_text("Live", timeout=20_000)


@pytest.mark.proves("console.stream-loss")
def test_who_is_signed_out_elsewhere_is_told_in_place(site: Site, world: World) -> None:
    page = live(site.page(world.viewer, "/runners/approvals"))
    page.context.clear_cookies()
    page.get_by_role("button", name="Pause updates").click()
    page.get_by_role("button", name="Resume updates").click()
    expect(word(page)).to_have_text("Signed out")
    expect(page.get_by_role("link", name="Sign in")).to_be_visible()
    expect(page.locator("main h1")).to_be_visible()


@pytest.mark.proves("console.stream-loss")
def test_eight_tabs_load_although_a_browser_has_six_connections(site: Site, world: World) -> None:
    context = site.context(world.viewer)
    tabs = [context.new_page() for _ in range(8)]
    for tab in tabs:
        site.watch(tab)
        tab.goto("/runners/approvals")
        expect(word(tab)).to_have_text(re.compile("^(Live|Polling)$"))
    assert [word(tab).text_content() for tab in tabs].count("Live") == 3


# --- a log that grows ------------------------------------------------------------------------


class Log:
    """The log of a running session, open in a page."""

    def __init__(self, site: Site, world: World) -> None:
        self.world, self.session = world, factories.running(world, world.dispatch("grows"))
        self.grow(96)
        self.page = site.page(world.viewer, f"{page_of(self.session)}/events")
        self.page.wait_for_selector("#e100")

    def grow(self, number: int) -> None:
        """So many events more."""
        for _ in range(0, number, 500):
            self.world.record(self.session, [{"message": "more"}] * min(number, 500))

    def seqs(self) -> list[int]:
        found = self.page.evaluate(
            "[...document.querySelectorAll('.log li')].map(row => Number(row.dataset.seq))"
        )
        return list(found)


@pytest.mark.proves("console.tail")
def test_a_log_is_followed_without_gap_and_waits_for_who_reads_above(
    site: Site, world: World
) -> None:
    log = Log(site, world)
    page = log.page
    log.grow(500)
    expect(page.locator("#e600")).to_be_in_viewport()
    assert log.seqs() == list(range(1, 601))
    page.evaluate("scrollBy(0, -300)")
    before = page.evaluate(
        "new Promise(done => setTimeout(() => requestAnimationFrame(() => done(scrollY)), 100))"
    )
    log.grow(500)
    button = page.get_by_role("button", name="500 new events")
    expect(button).to_be_visible()
    assert page.evaluate("scrollY") == before
    button.click()
    expect(page.locator("#e1100")).to_be_in_viewport()
    assert log.seqs() == list(range(1, 1101))


@pytest.mark.proves("console.windows")
def test_a_log_holds_two_thousand_rows_at_most(site: Site, world: World) -> None:
    log = Log(site, world)
    log.grow(2500)
    expect(log.page.locator("#e2600")).to_be_in_viewport()
    assert log.seqs() == list(range(601, 2601))


def test_following_is_a_switch(site: Site, world: World) -> None:
    log = Log(site, world)
    follow = log.page.get_by_role("button", name="Follow")
    expect(follow).to_have_attribute("aria-pressed", "true")
    log.page.keyboard.press("f")
    expect(follow).to_have_attribute("aria-pressed", "false")
    log.grow(30)
    expect(log.page.get_by_role("button", name="30 new events")).to_be_visible()
    assert log.seqs()[-1] == 100
