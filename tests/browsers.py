"""Signed-in browsers for tests of pages, and what to look for in what they are shown."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db import connections
from django.test import Client
from django.test.utils import CaptureQueriesContext

from keeptrusts_runners import ids
from sessions.models import RunnerSession
from tests.people import Person

_TRANSACTION = ("BEGIN", "COMMIT", "ROLLBACK", "SAVEPOINT", "RELEASE")


def browser(person: Person | None = None, *, csrf: bool = False) -> Client:
    """Of this person, or of a stranger."""
    client = Client(raise_request_exception=False, enforce_csrf_checks=csrf)
    if person is not None:
        client.force_login(person.user)
    return client


def page_of(session: RunnerSession, *more: str) -> str:
    return "/".join((f"/runners/sessions/{ids.encode('sess', session.id)}", *more))


def text_of(response: Any) -> str:
    """What is read: without markup, white space as one space."""
    body = re.sub(r"<(script|style|svg)\b.*?</\1>", " ", response.content.decode(), flags=re.S)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", "", body))


@contextmanager
def at_most(number: int, *aliases: str) -> Iterator[None]:
    """The block makes no more queries than this; what frames a transaction is not counted."""
    captures = [CaptureQueriesContext(connections[alias]) for alias in aliases or ("default",)]
    for capture in captures:
        capture.__enter__()
    try:
        yield
    finally:
        for capture in captures:
            capture.__exit__(None, None, None)
    made = [q["sql"] for c in captures for q in c if not q["sql"].startswith(_TRANSACTION)]
    assert len(made) <= number, "\n".join(made)


TIMES = re.compile(r"<time[^>]*datetime=\"(\d[^\"]*)\"[^>]*title=\"([^\"]*)\"[^>]*>([^<]*)</time>")


def instants(response: Any) -> list[tuple[str, str, str]]:
    """Every instant of a page: for machines, in the tooltip, and in its text."""
    return TIMES.findall(response.content.decode())
