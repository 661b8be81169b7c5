"""The five questions that investigations begin with, and the named searches that answer them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from typing import Any

from django.db import connections

from keeptrusts_runners import clock, ids

FORENSICS = "forensics"
# More is nothing that somebody reads; what is found beyond it is said to be there.
MOST_FOUND = 1_000
WINDOW = timedelta(days=7)


class Question(Enum):
    """What brings somebody here; the admin's pages stand in this order."""

    WHAT_RAN = "What ran, and how did it end?"
    WITH_WHICH_ACCESS = "With which access?"
    WHO_DECIDED = "Who decided, and who was turned away?"
    IS_IT_WHOLE = "Is the evidence whole?"
    WHO_IS_THERE = "Who is there?"


@dataclass(frozen=True, slots=True)
class Investigation:
    """A search that has a name. `sql` yields primary keys, the most telling first, and is bounded
    by an index or a window, whose length `title` says: `%(since)s` is the least id of the past
    WINDOW."""

    slug: str
    title: str
    hint: str
    sql: str

    def found(self) -> list[Any]:
        """The first MOST_FOUND keys."""
        bounded = f"SELECT * FROM ({self.sql}) AS found LIMIT {MOST_FOUND}"
        with connections[FORENSICS].cursor() as cursor:
            cursor.execute(bounded, {"since": ids.floor(clock.now() - WINDOW)})
            return [row[0] for row in cursor.fetchall()]


def named(slug: str | None, among: Sequence[Investigation]) -> Investigation | None:
    return next((each for each in among if each.slug == slug), None)
