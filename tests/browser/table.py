"""Every page of the console, found in the routes, and the states that are looked at besides.

A page that is new is in the table by itself, if `World` has what its address names. What is no page
is named here with its reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from django.urls import URLPattern, URLResolver, get_resolver, reverse

from keeptrusts_runners import ids
from tests.browser.driving import Page
from tests.browser.world import World

NO_PAGES = {
    "stream": "a stream",
    "session_head": "a part of a page",
    "approvals_count": "a part of a page",
    "session_artifact": "a download",
    "session_artifact_image": "an image",
    "session_evidence": "a download",
    "session_input_file": "a download",
    "session_checkpoint_file": "a download",
    "session_event_rows": "a part of a page",
    "session_events_text": "a download",
    "session_events_ndjson": "a download",
    "evidence_checkpoint": "a download",
    "approvals_revoked": "the result of a form, which alone leads there",
}
NOBODYS = ids.encode("sess", ids.at(0, bytes(10)))
# Who looks where: others may see less, and then see the same as somebody here.
ADMIN = "admin"
# Of which session, where not the running one.
SESSIONS = {
    "session_retry": "failed",
    "session_disposition": "lost",
    "session_force": "cancelling",
    "session_edit": "waiting",
}
# What must be asked for, or there is only the way back.
QUERIES = {"bulk_cancel": "?view=queue", "bulk_retry": "?q=state:failed"}


@dataclass(frozen=True)
class Shown:
    """A page in one state: where it is, whom it is shown to, and what is done there first."""

    name: str
    path: Callable[[World], str]
    status: int = 200
    person: str | None = ADMIN
    prepare: Callable[[Page], Any] | None = None


def routes() -> Iterator[tuple[str, URLPattern]]:
    """Named views of the console that GET opens."""
    yield from _below(get_resolver().url_patterns)


def _below(patterns: list[Any]) -> Iterator[tuple[str, URLPattern]]:
    for pattern in patterns:
        if isinstance(pattern, URLResolver):
            yield from _below(pattern.url_patterns)
        elif pattern.name and "GET" in getattr(pattern.callback, "methods", ()):
            yield pattern.name, pattern


def _path(name: str, pattern: URLPattern) -> Callable[[World], str]:
    def path(world: World) -> str:
        values = _values(world, name)
        wanted = {key: values[key]() for key in pattern.pattern.converters}
        return reverse(name, kwargs=wanted) + QUERIES.get(name, "")

    return path


def _values(world: World, name: str) -> dict[str, Callable[[], Any]]:
    """What stands in addresses, made when it is asked for."""
    return {
        "session_id": lambda: _session(world, name),
        "profile_id": lambda: world.harness.profile_id if "harness" in name else world.policy.id,
        "harness_id": lambda: world.harness.id,
        "executor_id": lambda: world.executor.id,
        "batch_id": lambda: ids.decode("batch", world.batch["id"]),
        "artifact_id": lambda: world.artifact.id,
        "grant_id": lambda: ids.decode("grant", world.request["id"]),
        "account_id": lambda: world.runner.account.id,
        "user_id": lambda: world.operator.user.id,
        "audit_id": lambda: world.audited.id,
        "seq": lambda: 5,
        "number": lambda: 1,
    }


def _session(world: World, name: str) -> Any:
    if "artifact" in name:
        return world.artifact.session_id
    return getattr(world, SESSIONS.get(name, "running")).id


def _submit(page: Page) -> None:
    """Send the page's form as it is, without what it needs."""
    page.locator("main form[method=post] button[type=submit]").last.click()


def _press(key: str) -> Callable[[Page], None]:
    def press(page: Page) -> None:
        page.keyboard.press(key)
        page.wait_for_selector("dialog[open]")

    return press


def _of(session: str, *more: str) -> Callable[[World], str]:
    def path(world: World) -> str:
        text = ids.encode("sess", getattr(world, session).id)
        return "/".join((f"/runners/sessions/{text}", *more))

    return path


# The same page looks otherwise here.
STATES = (
    Shown("session-failed", _of("failed")),
    Shown("session-waiting", _of("waiting")),
    Shown("session-cancelling", _of("cancelling")),
    Shown("session-lost", _of("lost")),
    Shown("sessions-queue", lambda world: "/runners/sessions?view=queue"),
    Shown("sessions-completed", lambda world: "/runners/sessions?view=completed"),
    Shown("sessions-none", lambda world: "/runners/sessions?q=task:none-such"),
    Shown("sessions-unreadable", lambda world: "/runners/sessions?q=colour:red", status=400),
    Shown("cancel-without-reason", _of("doomed", "cancel"), prepare=_submit),
    Shown("sign-in-empty", lambda world: "/sign-in", person=None, prepare=_submit),
    Shown("keys", lambda world: "/runners/sessions", prepare=_press("?")),
    Shown("commands", lambda world: "/runners/sessions", prepare=_press("Control+k")),
    Shown("not-found", lambda world: "/runners/nowhere", status=404),
    Shown(
        "no-such-id", lambda world: f"/runners/go?q={ids.encode('sess', ids.at(0, bytes(10)))}", 404
    ),
    Shown("no-scope", lambda world: "/runners/audit", status=403, person="viewer"),
)

TABLE = (
    *(
        Shown(
            name.replace("_", "-"),
            _path(name, pattern),
            person=None if name == "sign_in" else ADMIN,
        )
        for name, pattern in routes()
        if name not in NO_PAGES
    ),
    *STATES,
)


def opened(site: Any, world: World, shown: Shown, **options: Any) -> Page:
    """The page in its state, as its person sees it."""
    person = getattr(world, shown.person) if shown.person else None
    page = site.page(person, **options)
    answer = page.goto(shown.path(world))
    assert answer is not None
    assert answer.status == shown.status, f"{answer.status} {page.url} {page.title()}"
    if shown.prepare:
        shown.prepare(page)
    return page
