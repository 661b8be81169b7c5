"""docs/quickstart.md, followed from its first block to its last."""

from pathlib import Path

import pytest

from tests.docs.blocks import ROOT, executed, run, shell


@pytest.mark.proves("run.documents")
def test_following_the_page_ends_with_evidence_that_verifies(live_url: str, tmp_path: Path) -> None:
    # Python looks for modules beside the real file, so the page's own files stay out of the tree.
    (tmp_path / "manage.py").symlink_to(ROOT / "manage.py")
    script = shell(executed(ROOT / "docs" / "quickstart.md"))
    told = run(script, {"KEEPTRUSTS_URL": live_url}, cwd=tmp_path)
    assert '"state":"completed"' in told
    assert '"code":"lease_lost"' in told
    assert "VERIFIED" in told
    assert "BROKEN" in told
