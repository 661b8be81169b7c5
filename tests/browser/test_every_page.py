"""Every page, in both themes: accessible, narrow enough for a telephone, light, and only ours."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.browser.driving import DESKTOP, NARROW, Page, Site
from tests.browser.table import NO_PAGES, TABLE, Shown, opened, routes
from tests.browser.world import World

RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
LATER = re.compile(r"/runners/stream|/events/rows|/head\?|/approvals/count")
MOST_BYTES, MOST_REQUESTS = 60 * 1024, 5


def violations(page: Page, **more: Any) -> list[str]:
    """What axe finds: the rule, and where."""
    from axe_playwright_python.sync_playwright import Axe

    options = {"runOnly": RULES, "resultTypes": ["violations"]} | more
    found = Axe().run(page, options=options).response["violations"]
    return [
        f"{each['id']}: {node['target']} {node['html'][:120]}"
        for each in found
        for node in each["nodes"]
    ]


def test_every_page_is_looked_at_or_is_none() -> None:
    names = {name for name, _ in routes()}
    assert {*NO_PAGES} <= names
    assert len(TABLE) == len({shown.name for shown in TABLE})


@pytest.mark.proves("console.accessible")
@pytest.mark.parametrize("shown", TABLE, ids=lambda shown: shown.name)
def test_a_page_is_accessible_in_both_themes_and_fits(
    site: Site, world: World, shown: Shown
) -> None:
    page = opened(site, world, shown)
    assert violations(page) == []
    page.emulate_media(color_scheme="dark")
    assert violations(page, runOnly=["color-contrast"]) == []
    page.set_viewport_size({"width": NARROW[0], "height": NARROW[1]})
    assert page.evaluate("document.documentElement.scrollWidth") <= NARROW[0]
    page.set_viewport_size({"width": DESKTOP[0], "height": DESKTOP[1]})


@pytest.mark.proves("console.light")
def test_a_first_visit_is_light(site: Site, world: World) -> None:
    for shown in TABLE:
        if shown.status == 200 and not shown.prepare:
            size, addresses = first_visit(site, world, shown)
            assert len(addresses) <= MOST_REQUESTS, "\n".join(addresses)
            assert size <= MOST_BYTES, (shown.name, size)


def first_visit(site: Site, world: World, shown: Shown) -> tuple[int, list[str]]:
    """The bytes of bodies that travel to a new browser, and what it asks for; not what it then
    keeps open or asks for again."""
    page = site.page(getattr(world, shown.person) if shown.person else None)
    sent: list[Any] = []
    page.on("requestfinished", lambda request: sent.append(request))
    page.goto(shown.path(world), wait_until="load")
    page.wait_for_function("document.documentElement.className === 'js'")
    # What is told to have changed meanwhile is asked for again, which is no part of the visit.
    first: dict[str, Any] = {}
    for each in sent:
        if not each.redirected_to and not LATER.search(each.url):
            first.setdefault(each.url, each)
    size = sum(each.sizes()["responseBodySize"] for each in first.values())
    page.context.close()
    return size, list(first)
