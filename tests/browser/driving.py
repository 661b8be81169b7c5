"""A real browser: Debian's chromium through playwright, where both are installed."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.conf import settings
from django.test import Client

from tests.browsers import browser as signed_in
from tests.people import Person

try:
    from playwright.sync_api import (
        Browser,
        BrowserContext,
        Locator,
        Page,
        Route,
        expect,
        sync_playwright,
    )
except ImportError:  # pragma: no cover
    Browser = BrowserContext = Locator = Page = Route = expect = sync_playwright = None  # type: ignore[assignment,misc]

__all__ = ["Browser", "BrowserContext", "Locator", "Page", "Route", "Site", "expect", "launched"]

NEEDED = "needs chromium and the tools of bootstrap --dev"
DESKTOP, PHONE, NARROW = (1440, 900), (390, 844), (320, 640)
PATIENCE_MS = 30_000


def chromium() -> str | None:
    names = ("chromium", "chromium-browser", "google-chrome")
    return next((path for name in names if (path := shutil.which(name))), None)


@contextmanager
def launched() -> Iterator[Browser]:
    """Until the block is left; with it ends the event loop that playwright runs in this thread."""
    path = chromium()
    if sync_playwright is None or path is None:
        pytest.skip(NEEDED)
    with ExitStack() as held, pytest.MonkeyPatch.context() as patch:
        # Its loop is no reason to keep the tests from the database.
        expect.set_options(timeout=PATIENCE_MS)
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
        driver = held.enter_context(sync_playwright())
        program = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
        held.callback(program.close)
        yield program


@dataclass
class Site:
    """The product under `url` in a browser, and what went wrong in its pages: what the console
    said, what the policy refused, and whom else they asked."""

    program: Browser
    url: str
    faults: list[str] = field(default_factory=list)
    contexts: list[BrowserContext] = field(default_factory=list)

    def context(
        self,
        person: Person | None = None,
        *,
        js: bool = True,
        theme: str = "light",
        size: tuple[int, int] = DESKTOP,
        **more: Any,
    ) -> BrowserContext:
        made = self.program.new_context(
            base_url=self.url,
            java_script_enabled=js,
            color_scheme=theme,
            viewport={"width": size[0], "height": size[1]},
            reduced_motion="reduce",
            **more,
        )
        made.set_default_timeout(PATIENCE_MS)
        if person is not None:
            made.add_cookies([self.cookie(signed_in(person))])
        self.contexts.append(made)
        return made

    def cookie(self, client: Client) -> Any:
        name = settings.SESSION_COOKIE_NAME
        return {"name": name, "value": client.cookies[name].value, "url": self.url}

    def page(self, person: Person | None = None, path: str = "", **options: Any) -> Page:
        """A page of its own, opened at this path."""
        made = self.context(person, **options).new_page()
        self.watch(made)
        if path:
            made.goto(path)
        return made

    def watch(self, page: Page) -> None:
        page.on("pageerror", lambda error: self.faults.append(f"error: {error}"))
        page.on("console", lambda said: said.type == "error" and self._note(said))
        page.on("request", lambda request: self._same_origin(request.url))

    def _note(self, said: Any) -> None:
        # A refused fragment is told by its status, which tests look at themselves.
        if "Failed to load resource" not in said.text:
            self.faults.append(f"console: {said.text}")

    def _same_origin(self, url: str) -> None:
        if urlsplit(url).netloc != urlsplit(self.url).netloc and not url.startswith("data:"):
            self.faults.append(f"foreign: {url}")

    def close(self) -> None:
        for context in self.contexts:
            context.close()
        self.contexts.clear()
