"""nginx beside the benchmarks: that there may be none of it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from bench import nginx


def test_a_machine_without_nginx_has_no_peer_and_the_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda *args, **kwargs: None)
    with nginx.serving(tmp_path) as peer:
        assert peer is None
