"""docs/screenshots: every page in both themes, drawn by `manage.py test --screenshots`."""

from __future__ import annotations

import base64

import pytest

from keeptrusts_runners import env
from tests.browser.driving import DESKTOP, Page, Site
from tests.browser.table import TABLE, Shown, opened
from tests.browser.world import World

FOLDER = env.BASE_DIR / "docs/screenshots"
THEMES = ("light", "dark")
# Large enough to be read, small enough for a repository that holds them all.
SCALE, QUALITY, MOST_BYTES = 0.6, 45, 3 * 1024 * 1024


def names() -> set[str]:
    return {f"{shown.name}-{theme}.webp" for shown in TABLE for theme in THEMES}


def test_every_page_has_its_screenshots_and_nothing_else_has(
    pytestconfig: pytest.Config,
) -> None:
    if pytestconfig.getoption("--screenshots"):
        return
    there = {path.name: path.stat().st_size for path in FOLDER.glob("*.webp")}
    assert names() == there.keys()
    assert sum(there.values()) <= MOST_BYTES


def test_screenshots_are_drawn_when_asked_for(
    site: Site, world: World, pytestconfig: pytest.Config
) -> None:
    drawn = TABLE if pytestconfig.getoption("--screenshots") else ()
    if drawn:
        FOLDER.mkdir(exist_ok=True)
        for path in FOLDER.glob("*.webp"):
            path.unlink()
        # What the pages show of it is there on each of them.
        assert all((world.running, world.failed, world.waiting, world.request))
    for shown in drawn:
        draw(site, world, shown)


def draw(site: Site, world: World, shown: Shown) -> None:
    page = opened(site, world, shown)
    for theme in THEMES:
        page.emulate_media(color_scheme=theme)
        (FOLDER / f"{shown.name}-{theme}.webp").write_bytes(picture(page))
    page.context.close()


def picture(page: Page) -> bytes:
    """What is seen first, as WebP, which playwright itself does not write."""
    width, height = DESKTOP
    clip = {"x": 0, "y": 0, "width": width, "height": height, "scale": SCALE}
    session = page.context.new_cdp_session(page)
    answer = session.send(
        "Page.captureScreenshot", {"format": "webp", "quality": QUALITY, "clip": clip}
    )
    return base64.b64decode(answer["data"])
