"""Hostile artifacts in a real browser: whatever is opened, nothing that was uploaded runs."""

from __future__ import annotations

import shutil
import zlib
from collections.abc import Iterator
from typing import Any

import pytest
from django.conf import settings

from tests import factories, stored
from tests.browsers import browser, page_of
from tests.grants.test_previews import GIF, chunk, png
from tests.live import live_url  # noqa: F401  (fixture)
from tests.people import Org

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed here")

# Whatever runs says so: by asking the server, by a dialog, or on the page itself.
RAN = "fetch('/ran?'+location.pathname);window.ran=1;try{alert('ran')}catch(e){}"
HTML = f'<!doctype html><img src=x onerror="{RAN}"><script>{RAN}</script>'
SVG = f'<svg xmlns="http://www.w3.org/2000/svg" onload="{RAN}"><script>{RAN}</script></svg>'
XSLT = f"""<?xml version="1.0"?><?xml-stylesheet type="text/xsl" href="#s"?>
<x><xsl:stylesheet id="s" version="1.0" xmlns:xsl="http://www.w3.org/1999/XSL/Transform">
<xsl:template match="/"><html><script>{RAN}</script></html></xsl:template></xsl:stylesheet></x>"""
PDF = f"%PDF-1.7\n1 0 obj<</OpenAction<</S/JavaScript/JS({RAN})>>>>endobj trailer<</Root 1 0 R>>"

HOSTILE: dict[str, tuple[bytes, str]] = {
    "page.html": (HTML.encode(), "text/html"),
    "page.txt": (HTML.encode(), "text/plain"),
    "page.bin": (HTML.encode(), "application/octet-stream"),
    "page.png": (HTML.encode(), "image/png"),
    "late.txt": (b"x" * 2000 + HTML.encode(), "text/plain"),
    "image.svg": (SVG.encode(), "image/svg+xml"),
    "image.json": (SVG.encode(), "application/json"),
    "style.xml": (XSLT.encode(), "text/xml"),
    "style.xhtml": (XSLT.encode(), "application/xhtml+xml"),
    "script.js": (RAN.encode(), "text/javascript"),
    "paper.pdf": (PDF.encode(), "application/pdf"),
    "data.json": (f'{{"</script>{HTML}": "{SVG}"}}'.replace('"', "'").encode(), "application/json"),
    "table.csv": (f"=cmd|'/C calc'!A1,{HTML},{SVG}\n".encode(), "text/csv"),
    # Two things at once: an image to whom it may concern, and something that runs to others.
    "gif-and-script.gif": (GIF + f"=1;{RAN}".encode(), "image/gif"),
    "png-and-page.png": (png()[:-12] + chunk(b"tEXt", b"x\0" + HTML.encode()) + png()[-12:],
                         "image/png"),
    "gif-and-page.bin": (GIF + HTML.encode(), "application/octet-stream"),
    "gzip.svgz": (zlib.compress(SVG.encode()), "image/svg+xml"),
    "mail.mht": (f"MIME-Version: 1.0\nContent-Type: text/html\n\n{HTML}".encode(),
                 "message/rfc822"),
    "<img src=x onerror=alert(1)>.txt": (b"a hostile name", "text/plain"),
    "javascript:alert(1)": (b"a hostile name", "text/plain"),
}  # fmt: skip


@pytest.fixture(scope="module")
def org() -> Org:
    return Org()


@pytest.fixture(scope="module")
def places(org: Org) -> dict[str, str]:
    """Where each of them is. All are there before the browser, beside which Django refuses work."""
    session = factories.running(org)
    made = {name: stored.put(org, session, *given) for name, given in _named()}
    return {name: page_of(session, "artifacts", each["id"]) for name, each in made.items()}


def _named() -> Iterator[tuple[str, tuple[bytes, str, str]]]:
    for name, (data, media_type) in HOSTILE.items():
        yield name, (data, name, media_type)


@pytest.fixture(scope="module")
def context(live_url: str, org: Org, places: dict[str, str]) -> Iterator[Any]:  # noqa: F811
    """A browser that is signed in as a viewer."""
    sync_api = pytest.importorskip("playwright.sync_api")
    cookie = browser(org.viewer).cookies[settings.SESSION_COOKIE_NAME]
    with sync_api.sync_playwright() as playwright:
        program = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        made = program.new_context(base_url=live_url)
        made.add_cookies([{"name": cookie.key, "value": cookie.value, "url": live_url}])
        yield made
        program.close()


@pytest.mark.proves("artifact.preview")
@pytest.mark.parametrize("name", HOSTILE)
def test_nothing_that_was_uploaded_ever_runs(
    name: str, context: Any, places: dict[str, str]
) -> None:
    data, place = HOSTILE[name][0], places[name]
    ran: list[str] = []
    page = context.new_page()
    page.on("request", lambda request: ran.append(request.url) if "/ran" in request.url else None)
    page.on("dialog", lambda dialog: (ran.append(dialog.message), dialog.dismiss()))
    # The page about it, with whatever it shows.
    assert page.goto(f"{place}/preview").status == 200
    ran += page.evaluate("window.ran ? ['page'] : []")
    assert page.locator("script:not([src])").count() == 0
    # Opened as an address of its own: a download, which leaves the page where it was.
    with page.expect_download() as download:
        page.evaluate("address => { location.href = address }", place)
    assert download.value.path().read_bytes() == data
    # The image of it, where there is one.
    assert page.goto(f"{place}/image").status in (200, 404)
    ran += page.evaluate("window.ran ? ['image'] : []")
    page.close()
    assert ran == []


@pytest.mark.proves("artifact.preview")
def test_nothing_runs_as_a_part_of_our_own_pages(context: Any, places: dict[str, str]) -> None:
    """As an element that somebody managed to inject would have it."""
    ran: list[str] = []
    page = context.new_page()
    page.on("request", lambda request: ran.append(request.url) if "/ran" in request.url else None)
    page.on("dialog", lambda dialog: (ran.append(dialog.message), dialog.dismiss()))
    page.goto("/runners")
    page.evaluate(EMBED, [each for place in places.values() for each in (place, f"{place}/image")])
    assert page.evaluate("window.ran") is None
    page.close()
    assert ran == []


EMBED = """addresses => Promise.all(addresses.flatMap(address =>
  ['script', 'iframe', 'object', 'embed', 'link'].map(name => new Promise(done => {
    const made = document.createElement(name);
    made.onload = made.onerror = done;
    setTimeout(done, 500);
    if (name === 'link') { made.rel = 'stylesheet'; made.href = address }
    else made[name === 'object' ? 'data' : 'src'] = address;
    document.body.append(made);
  }))))"""


def test_a_script_that_does_run_would_be_seen(context: Any) -> None:
    """What the test above looks for is there to be found."""
    ran: list[str] = []
    page = context.new_page()
    page.on("request", lambda request: ran.append(request.url) if "/ran" in request.url else None)
    page.on("dialog", lambda dialog: (ran.append(dialog.message), dialog.dismiss()))
    page.route("**/hostile", lambda route: route.fulfill(body=HTML, content_type="text/html"))
    page.goto("/hostile")
    assert page.evaluate("window.ran") == 1
    assert "ran" in ran
    page.close()
