"""README.md: its commands work, and what it links to is there."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from tests.docs.blocks import ROOT, blocks, executed, run, shell

PAGES = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").glob("*.md")])
# Those whose blocks tests follow: in this directory, and the last one in tests/evidence.
FOLLOWED = {"README.md", "quickstart.md", "write-a-runner.md", "evidence-format.md"}
_SETTING = re.compile(r"KEEPTRUSTS_|DATABASE_|SECRET_KEY|DJANGO_")
_LINK = re.compile(r"\]\((?!https?://)([^)#]+)(?:#[^)]*)?\)")


def test_one_session_is_shown_from_dispatch_to_verified_evidence(tmp_path: Path) -> None:
    script = shell(executed(ROOT / "README.md"))
    # As on a fresh machine: nothing is set but where to keep things.
    unset = {name: value for name, value in os.environ.items() if not _SETTING.match(name)}
    told = run(script, {"KEEPTRUSTS_DATA_DIR": str(tmp_path)}, cwd=ROOT, environment=unset)
    for step in ("dispatched", "claimed", "checkpoint", "grant used", "artifact", "complete"):
        assert f" s  {step} " in told
    assert "\nVERIFIED\n" in told


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    missing = [
        link for link in _LINK.findall(page.read_text()) if not (page.parent / link).exists()
    ]
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_command_is_executed_or_says_why_not(page: Path) -> None:
    commands = [block for block in blocks(page.read_text()) if block.language in ("sh", "python")]
    assert page.name in FOLLOWED or all(block.why_not for block in commands)
