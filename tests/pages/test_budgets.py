"""What a page costs: its queries, its bytes, and all that a first visit fetches, of a few sessions
in every run and of as many as an installation may have in the long one."""

from __future__ import annotations

import gzip
import http.client
import re
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from http.cookies import SimpleCookie
from urllib.parse import urlsplit

import pytest
from django.conf import settings

from keeptrusts_runners import clock
from keeptrusts_runners.seeding import seeder
from sessions.models import RunnerSession
from tests.browsers import at_most, browser, page_of
from tests.live import START_SECONDS
from tests.live import live_url as live_url
from tests.pages.test_session import held_up
from tests.people import Org
from tests.recording import Figures

KB = 1024
# Who asks, and where: the browser's session, its user, the organization and the role; whatever the
# page.
OF_ACCESS = 5
ASSET = re.compile(r'(?:href|src)="(/static/[^"]+)"')


@dataclass(frozen=True)
class Seeded:
    """An organization of many sessions, one of them long; how often a page is asked for."""

    org: Org
    long: RunnerSession
    events: int
    rounds: int

    @cached_property
    def ended(self) -> RunnerSession:
        with self.org.scope():
            return RunnerSession.objects.filter(state="failed").latest("id")


SIZES = {"small": (200, 5_000, 20_000, 5), "large": (100_000, 300_000, 1_000_000, 20)}


@pytest.fixture(scope="module", params=["small", pytest.param("large", marks=pytest.mark.nightly)])
def seeded(
    request: pytest.FixtureRequest, django_db_setup: None, pytestconfig: pytest.Config
) -> Seeded:
    scale = pytestconfig.getoption("--scale") if request.param == "large" else 1.0
    sessions, said, events = (max(1, round(each * scale)) for each in SIZES[request.param][:3])
    org = Org()
    assert org.admin
    seeder.seed(org.id, sessions=sessions, events=said, seed=1, now=clock.now())
    seeder.seed(org.id, sessions=1, events=events, seed=2, now=clock.now(), course="running")
    with org.scope():
        long = RunnerSession.objects.order_by("-ledger_head__seq")[0]
    return Seeded(org, long, events, SIZES[request.param][3])


@dataclass(frozen=True, slots=True)
class Budget:
    """Of one page: compressed, in bytes; queries beside those of access."""

    path: Callable[[Seeded], str]
    html: int
    first_visit: int
    queries: int


def _window(place: Callable[[int], str]) -> Budget:
    def path(seeded: Seeded) -> str:
        return page_of(seeded.long, "events") + place(seeded.events)

    # Of which most is what runners said.
    return Budget(path, 27 * KB, 60 * KB, 6)


def _fixed(path: str, html: int, first_visit: int, queries: int) -> Budget:
    return Budget(lambda _: path, html * KB, first_visit * KB, queries)


BUDGETS = {
    "fleet": _fixed("/runners", 12, 50, 8),
    "sessions": _fixed("/runners/sessions", 13, 45, 9),
    "completed": _fixed("/runners/sessions?view=completed", 13, 45, 9),
    "session": Budget(lambda seeded: page_of(seeded.ended), 20 * KB, 60 * KB, 16),
    "long session": Budget(lambda seeded: page_of(seeded.long), 20 * KB, 60 * KB, 16),
    "attention": _fixed("/runners/sessions?view=attention", 13, 45, 9),
    "events, first": _window(lambda events: "?at=1"),
    "events, middle": _window(lambda events: f"?at={events // 2}"),
    "events, last": _window(lambda events: "?tail=1"),
    "approvals": _fixed("/runners/approvals?view=waiting", 12, 50, 8),
    "active grants": _fixed("/runners/approvals?view=active", 12, 50, 8),
    "tokens": _fixed("/runners/service-accounts", 12, 50, 8),
    "audit": _fixed("/runners/audit", 12, 50, 8),
    # Last, since it makes what the others would list.
    "held-up session": Budget(lambda seeded: page_of(held_up(seeded.org)), 20 * KB, 60 * KB, 16),
}


class Visitor:
    """A browser's requests, as they travel."""

    def __init__(self, url: str, cookies: SimpleCookie) -> None:
        self._connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=START_SECONDS)
        cookie = cookies[settings.SESSION_COOKIE_NAME]
        self._headers = {"Accept-Encoding": "gzip", "Cookie": f"{cookie.key}={cookie.value}"}
        self.close = self._connection.close

    def get(self, path: str) -> tuple[bytes, float]:
        """The body as it was sent, and the seconds until its head was here."""
        began = time.perf_counter()
        self._connection.request("GET", path, headers=self._headers)
        answer = self._connection.getresponse()
        seconds = time.perf_counter() - began
        body = answer.read()
        assert answer.status == 200, (path, answer.status)
        return body, seconds


@pytest.fixture(scope="module")
def visitor(seeded: Seeded, live_url: str) -> Iterator[Visitor]:
    with closing(Visitor(live_url, browser(seeded.org.admin).cookies)) as made:
        yield made


@pytest.mark.proves("console.budgets")
@pytest.mark.parametrize("name", BUDGETS)
def test_a_page_keeps_its_budget(
    seeded: Seeded, visitor: Visitor, figures: Figures, name: str
) -> None:
    budget = BUDGETS[name]
    path = budget.path(seeded)
    client = browser(seeded.org.admin)
    with at_most(OF_ACCESS + budget.queries):
        assert client.get(path).status_code == 200
    html, _ = visitor.get(path)
    assets = {*ASSET.findall(gzip.decompress(html).decode())}
    first_visit = len(html) + sum(len(visitor.get(each)[0]) for each in assets)
    figures.most(f"B of {name}", len(html))
    figures.most(f"B of a first visit of {name}", first_visit)
    figures.most(f"% of the health page's time, {name}", _share(visitor, path, seeded.rounds))
    assert len(html) <= budget.html
    assert first_visit <= budget.first_visit


def _share(visitor: Visitor, path: str, rounds: int) -> int:
    """How long the page takes to begin, of what the health page takes in turn with it: the 95th of
    a hundred, so the second slowest of twenty."""
    pages, health = ([], [])
    for _ in range(rounds):
        pages.append(visitor.get(path)[1])
        health.append(visitor.get("/healthz")[1])
    at = max(0, round(rounds * 0.95) - 1)
    return round(100 * sorted(pages)[at] / sorted(health)[at])
