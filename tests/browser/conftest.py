"""One server for this worker, one browser for each module, pages for each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.browser import driving
from tests.browser.driving import Browser, Site
from tests.browser.world import World
from tests.live import live_url as live_url


@pytest.fixture(scope="module")
def program() -> Iterator[Browser]:
    """For a module, since nothing else can run a loop in this thread while it lasts."""
    with driving.launched() as program:
        yield program


@pytest.fixture(scope="session")
def world(django_db_setup: None) -> World:
    return World()


@pytest.fixture
def site(program: Browser, live_url: str) -> Iterator[Site]:
    """Fails the test when a page reported an error, broke the policy or asked another origin."""
    made = Site(program, live_url)
    yield made
    made.close()
    assert made.faults == []
