"""docs/operations.md: its settings are those that exist."""

from __future__ import annotations

import re

from tests.docs.blocks import ROOT

_SETTING = r"(?:KEEPTRUSTS|DATABASE)_[A-Z0-9_]+|SECRET_KEY(?:_FILE)?"


def test_the_table_names_the_settings_of_the_example_and_no_others() -> None:
    example = (ROOT / ".env.example").read_text()
    known = re.findall(rf"^#({_SETTING})=", example, re.MULTILINE)
    table = (ROOT / "docs" / "operations.md").read_text().partition("## Settings")[2]
    rows = re.findall(r"^\| (`[^|]+) \|", table.partition("\n## ")[0], re.MULTILINE)
    told = [name for row in rows for name in re.findall(_SETTING, row)]
    assert sorted(told) == sorted(known)


def test_the_example_has_every_setting_that_is_read() -> None:
    read = set(re.findall(rf'"({_SETTING})"', (ROOT / "keeptrusts_runners" / "env.py").read_text()))
    example = (ROOT / ".env.example").read_text()
    assert {name for name in read if f"#{name}=" not in example} == set()
