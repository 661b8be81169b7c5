"""`manage.py generate_docs`: writes what is stale, and names it when asked to check."""

from __future__ import annotations

from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from keeptrusts_runners.management.commands import generate_docs
from sessions.states import EDGES, State, Verb


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout without a document."""
    (tmp_path / "docs").mkdir()
    monkeypatch.setattr(generate_docs, "BASE_DIR", tmp_path)
    return tmp_path


def test_a_check_names_what_is_missing_and_writes_nothing(tree: Path) -> None:
    with pytest.raises(CommandError, match=r"docs/lifecycle\.md"):
        call_command("generate_docs", "--check")
    assert not any((tree / "docs").iterdir())


def test_what_was_generated_is_current_until_it_is_edited(tree: Path) -> None:
    call_command("generate_docs")
    call_command("generate_docs", "--check")
    with (tree / "docs" / "errors.md").open("a") as page:
        page.write("by hand\n")
    with pytest.raises(CommandError, match=r"^Stale: docs/errors\.md\."):
        call_command("generate_docs", "--check")


def test_the_lifecycle_page_has_every_state_verb_and_change(tree: Path) -> None:
    call_command("generate_docs")
    page = (tree / "docs" / "lifecycle.md").read_text()
    assert all(f"| `{state}` |" in page for state in State)
    assert all(f"| `{verb}` |" in page for verb in Verb)
    changes = {(edge.source or "[*]", edge.target) for edge in EDGES if edge.source != edge.target}
    drawn = {tuple(line.split(":")[0].split()[::2]) for line in page.splitlines() if ": " in line}
    assert changes <= drawn
