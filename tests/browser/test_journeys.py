"""A working day without JavaScript, without a pointer, and in another zone; and hostile text."""

from __future__ import annotations

import json
import re
from hashlib import sha256
from pathlib import Path

import pytest

from keeptrusts_runners.identity.models import User
from sessions.models import RunnerSession
from tests import factories
from tests.browser.driving import Locator, Page, Site, expect
from tests.browser.world import HOSTILE, World
from tests.browsers import page_of
from tests.grants import asking
from tests.people import PASSWORD

# Of whatever has the focus: is it in sight, and does nothing lie over it?
FOCUS_IS_SEEN = """() => {
  const active = document.activeElement, box = active.getBoundingClientRect();
  const x = (box.left + Math.min(box.right, innerWidth)) / 2, y = (box.top + box.bottom) / 2;
  const top = document.elementFromPoint(x, y);
  return y >= 0 && y <= innerHeight && (active.contains(top) || !!top?.contains(active));
}"""
BARS = "[...document.querySelectorAll('.histogram svg [aria-label]')].map(e => e.ariaLabel)"
TIMES = "[...document.querySelectorAll('time')].map(e => [e.textContent, e.title])"


CONTENT = b'{"found": ["libfoo", "libbar"]}'


@pytest.mark.proves("console.no-script")
def test_a_working_day_without_javascript(site: Site, world: World) -> None:
    broken = failed_with_much_to_read(world)
    session = factories.running(world, world.dispatch("without-script"))
    grant = asking.requested(world, session)
    doomed, person = world.dispatch("to-cancel"), world.admin.user
    person.set_password(PASSWORD)
    person.save(update_fields=["password"])

    page = site.page(path="/runners/sessions", js=False)
    page.get_by_label("E-mail address").fill(person.email)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", name="Sessions")).to_be_visible()

    page.locator("main [name=q]").fill("state:failed")
    page.locator("main [name=q]").press("Enter")
    states = page.locator("main tbody .state").all_text_contents()
    assert states
    assert {word.strip() for word in states} == {"Failed"}
    page.locator(f'main tbody th a[href="{page_of(broken)}"]').click()
    expect(page.locator(".head .state").first).to_have_text("Failed")

    page.locator(".tabs").get_by_role("link", name=re.compile("^Events")).click()
    here = window(page)
    page.get_by_role("link", name="Older").first.click()
    older = window(page)
    assert older[1] == here[0] - 1
    page.get_by_role("link", name="Newer").first.click()
    assert window(page)[0] == older[1] + 1

    page.locator(".tabs").get_by_role("link", name=re.compile("^Artifacts")).click()
    page.get_by_role("link", name="report.json", exact=True).click()
    expect(page.locator("main")).to_contain_text("libfoo")
    with page.expect_download() as begun:
        page.get_by_role("link", name=re.compile("^Download")).click()
    digest = sha256(Path(begun.value.path()).read_bytes()).hexdigest()
    assert digest == sha256(CONTENT).hexdigest()
    expect(page.locator("main")).to_contain_text(digest)

    page.goto(f"{page_of(session)}/grants/{grant['id']}")
    page.locator("[name=comment]").fill("agreed")
    page.get_by_role("button", name=re.compile("^Approve")).click()
    page.goto(f"{page_of(session)}/grants/{grant['id']}")
    expect(page.locator("main .state", has_text="Active").first).to_be_visible()

    page.goto(f"{page_of(doomed)}/cancel")
    page.get_by_label("Reason").fill("not needed")
    page.get_by_role("button", name="Cancel session").click()
    expect(page.locator(".head .state").first).to_have_text("Cancelled")

    page.locator("header details.menu summary").click()
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()


def failed_with_much_to_read(world: World) -> RunnerSession:
    """Three windows of events, of which the error is in the middle one, and an artifact."""
    session = factories.running(world, world.dispatch("read-without-script"))
    for level in ("info", "error", "info"):
        world.record(session, [{"level": level, "message": "more"}] + [{"message": "more"}] * 499)
    place = f"{factories.path(session, 'artifacts')}?name=report.json&kind=report"
    kept = factories.session_api(world, session).request(
        "POST", place, raw=CONTENT, Content_Type="application/json"
    )
    assert kept.status_code == 201, kept.content
    world.say(session, {"state": "failed", "reason": "harness_error"})
    return session


def window(page: Page) -> tuple[int, int]:
    """The numbers of the first and the last event that the page shows."""
    rows = page.locator("ol.log > li")
    expect(rows.first).to_be_visible()
    first, last = (row.get_attribute("data-seq") for row in (rows.first, rows.last))
    return int(first or 0), int(last or 0)


@pytest.mark.proves("console.keyboard")
def test_a_session_is_found_and_read_without_a_pointer(site: Site, world: World) -> None:
    assert world.failed
    page = site.page(world.operator, "/runners/sessions")
    press(page, "/")
    page.keyboard.type("task:build-index")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile("q=task"))
    press(page, "j")
    page.keyboard.press("Enter")
    expect(page.locator(".head .state").first).to_have_text("Failed")
    page.goto(f"{page_of(world.running)}/events")
    press(page, "j")
    press(page, "j")
    press(page, "k")
    press(page, "e")
    row = page.locator("ol.log > li", has=page.locator(":focus"))
    expect(row.locator(".level")).to_have_text("error")
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.keyboard.press("y")
    expect(page.locator("#status")).to_have_text("Copied")
    link = page.evaluate("navigator.clipboard.readText()")
    assert re.search(r"/events\?.*#e\d+$", link), link
    page.keyboard.press("u")
    expect(page).to_have_url(re.compile(f"{page_of(world.running)}$"))


@pytest.mark.proves("console.keyboard")
def test_a_request_is_found_and_denied_without_a_pointer(site: Site, world: World) -> None:
    grant = asking.requested(world, factories.running(world, world.dispatch("denied-by-keys")))
    page = site.page(world.approver, "/runners/sessions")
    tab_to(page, page.locator("header").get_by_role("link", name=re.compile("^Approvals")))
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile("/runners/approvals"))
    tab_to(page, page.locator(f"main a[href*='{grant['id']}']").first)
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(str(grant["id"])))
    tab_to(page, page.locator("main [name=comment]").last)
    page.keyboard.type("not tonight")
    tab_to(page, page.get_by_role("button", name=re.compile("^Deny")))
    with page.expect_navigation():
        page.keyboard.press("Enter")
    page.goto(f"/runners/sessions/{grant['session_id']}/grants/{grant['id']}")
    expect(page.locator("main .state", has_text="Denied").first).to_be_visible()


def tab_to(page: Page, wanted: Locator) -> None:
    """From one thing to the next, each of which is seen, until this has the focus."""
    expect(wanted).to_be_visible()
    for _ in range(200):
        press(page, "Tab")
        if wanted.evaluate("element => element === document.activeElement"):
            return
    raise AssertionError(f"{wanted} is never reached")


def press(page: Page, key: str) -> None:
    """Wherever that leads, what has the focus then is seen."""
    page.keyboard.press(key)
    page.wait_for_function(FOCUS_IS_SEEN)


def test_help_lists_the_keys_of_the_page_and_the_menu_goes_places(site: Site, world: World) -> None:
    page = site.page(world.operator, "/runners/sessions")
    page.keyboard.press("?")
    dialog = page.get_by_role("dialog", name="Keys on this page")
    expect(dialog.get_by_text("Next row")).to_be_visible()
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    page.keyboard.press("Control+k")
    page.keyboard.type("approv")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile("/runners/approvals"))
    page.keyboard.press("Control+k")
    page.keyboard.type(page_of(world.running))
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(f"{page_of(world.running)}$"))


@pytest.mark.proves("console.keyboard")
def test_single_keys_can_be_turned_off(site: Site, world: World) -> None:
    person = world.at_ease
    page = site.page(person, "/runners/me")
    page.get_by_role("checkbox", name=re.compile("Single keys")).uncheck()
    page.get_by_role("button", name="Save preferences").click()
    expect(page.get_by_text("Preferences saved.")).to_be_visible()
    page.goto("/runners/sessions")
    page.keyboard.press("j")
    page.keyboard.press("?")
    assert page.evaluate("document.activeElement === document.body")
    expect(page.get_by_role("dialog")).to_have_count(0)
    page.keyboard.press("Control+k")
    expect(page.get_by_role("dialog")).to_be_visible()


@pytest.mark.proves("console.time")
def test_a_page_keeps_to_one_zone(site: Site, world: World) -> None:
    person = world.far_away
    # Of one that went on for longer than a bar of its histogram.
    events = f"{page_of(world.lost)}/events"
    addresses = (page_of(world.running), events, "/runners/sessions")
    page = site.page(person, timezone_id="Asia/Kolkata")
    for address in addresses:
        assert_zone(page, address, "Z")
    page.goto(events)
    assert page.evaluate(BARS)
    page.goto("/runners/me")
    page.get_by_role("button", name="Take the zone of this browser").click()
    page.get_by_role("button", name="Save preferences").click()
    expect(page.locator("header .zone")).to_contain_text("Asia/")
    for address in addresses:
        assert_zone(page, address, "+05:30")
    assert User.objects.get(pk=person.user.pk).preferences["zone"].startswith("Asia/")

    lines = page.request.get(f"{events}.ndjson").text().splitlines()
    told = [json.loads(line)["recorded_at"] for line in lines]
    assert told
    assert all(instant.endswith("Z") for instant in told)
    page.goto(events)
    assert not page.locator("main a[href*='05:30'], main a[href*='05%3A30']").count()


@pytest.mark.proves("console.time")
def test_events_of_one_instant_are_in_the_order_of_their_numbers(site: Site, world: World) -> None:
    session = factories.running(world, world.dispatch("one-instant"))
    world.record(session, [{"message": f"step {n}"} for n in range(40)])
    page = site.page(world.viewer, f"{page_of(session)}/events")
    rows = page.locator("ol.log > li", has_text="step ")
    assert len({*rows.locator("time").all_text_contents()}) == 1
    said = [re.search(r"step \d+", text) for text in rows.all_text_contents()]
    assert [found and found[0] for found in said] == [f"step {n}" for n in range(40)]


def assert_zone(page: Page, address: str, suffix: str) -> None:
    """Whatever tells a time of day ends in this, and the histogram's bars with it."""
    page.goto(address)
    shown = page.evaluate(TIMES)
    stamps = [text for text, _ in shown if re.search(r"\d:\d", text)]
    titles = [title for _, title in shown if title]
    assert titles
    assert {text[-len(suffix) :] for text in [*stamps, *titles]} == {suffix}, address
    assert all(label.count(suffix) == 2 for label in page.evaluate(BARS)), address


@pytest.mark.proves("console.inert")
def test_what_code_says_is_shown_as_text(site: Site, world: World) -> None:
    """`site` fails the test when any of it runs, or asks anybody."""
    page = site.page(world.operator, f"{page_of(world.running)}/events")
    row = page.locator("ol.log > li", has_text="<img src=x").last
    expect(row).to_be_visible()
    text = row.text_content() or ""
    assert "\u202e" not in text
    assert "\x1b" not in text
    assert HOSTILE[:10] in text
    assert row.locator("img, a[href^=javascript]").count() == 0
