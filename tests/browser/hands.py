"""Somebody at a page, whose presses are counted; and docs/incidents.md, which tells how many."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from keeptrusts_runners import env
from tests.browser.driving import Page
from tests.people import Org

DOCUMENT = env.BASE_DIR / "docs/incidents.md"
MOST_PRESSES = 4
_ROW = re.compile(r"^\| ([^|]+) \| ([^|]+) \| (\d+) \| ([\d.]+) \|$")
_HEAD = """\
# Ten tasks of an incident

<!-- Written by `manage.py test -n 0 --incidents tests/browser/test_incidents.py`. -->

Each begins on the Fleet page and ends when the product has done it, which its API and its database
confirm; tests/browser/test_incidents.py says how, press by press. A press is one of a link, a
button or a box; what is typed, such as a reason, is not counted. The seconds are those of a script
that never hesitates, page loads included, on the machine that wrote this: they say that nothing
waits, and are in no test.

| task | where | presses | seconds |
| --- | --- | --- | --- |
"""


@dataclass
class Hands:
    """Every control is used through them."""

    page: Page
    presses: int = 0

    def press(self, control: Any) -> None:
        self.presses += 1
        control.click()

    def link(self, name: str | re.Pattern[str], within: Any = None) -> None:
        """The whole name, lest another be taken that contains it."""
        among = within or self.page.locator("body")
        self.press(among.get_by_role("link", name=name, exact=True).first)

    def button(self, name: str | re.Pattern[str]) -> None:
        among = self.page.locator("main")
        self.press(among.get_by_role("button", name=name, exact=True).first)

    def type(self, label: str, text: str) -> None:
        self.page.get_by_label(label).fill(text)


# Sets an incident up, waits; acts, waits; looks at what the product says became of it.
Steps = Iterator[None]
Task = Callable[[Org, Hands], Steps]


@dataclass(frozen=True, slots=True)
class Entry:
    """A row of the document."""

    task: str
    device: str
    presses: int
    seconds: str


def written() -> dict[tuple[str, str], Entry]:
    found: dict[tuple[str, str], Entry] = {}
    for line in DOCUMENT.read_text().splitlines() if DOCUMENT.exists() else ():
        if row := _ROW.match(line):
            task, device, presses, seconds = row.groups()
            found[task, device] = Entry(task, device, int(presses), seconds)
    return found


def write(entry: Entry, order: list[tuple[str, str]]) -> None:
    """Put the row into its place; rows that no test names are left out."""
    known = written() | {(entry.task, entry.device): entry}
    rows = [known[key] for key in order if key in known]
    lines = [f"| {each.task} | {each.device} | {each.presses} | {each.seconds} |" for each in rows]
    DOCUMENT.write_text(_HEAD + "\n".join(lines) + "\n")
