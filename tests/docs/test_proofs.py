"""docs/proofs.md and the marks that it is made from."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests import promises, proofs, recording
from tests.proofs import Proof


def test_every_promise_is_held_by_a_test_or_named_as_not_held_yet() -> None:
    held = proofs.held()
    assert set(held) == set(promises.PROMISES), "a mark names no promise"
    assert {key for key, by in held.items() if not by} == set(promises.NOT_YET)


def test_what_was_found_is_held_by_a_test_that_exists() -> None:
    for _, _, test in promises.FOUND:
        path, _, name = test.partition("::")
        assert f"def {name}(" in (proofs.TESTS.parent / path).read_text()


def test_the_page_tells_promise_test_tier_and_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    marked = Proof("tests/x/test_x.py::test_it_holds", ("claim.one-winner",), nightly=True)
    monkeypatch.setattr(proofs, "proofs", lambda: (marked,))
    monkeypatch.setattr(proofs, "RESULTS", tmp_path / "proofs.json")
    row = f"| {promises.PROMISES['claim.one-winner']} | [it holds](../tests/x/test_x.py) | nightly"
    assert f"{row} | not recorded |" in proofs.render()
    result = {"outcome": "passed", "date": "2026-12-24", "cases": 2, "figures": {"kills": 1200}}
    proofs.record("a machine", {marked.test: result, "tests/gone.py::test_gone": result})
    page = proofs.render()
    assert f"{row} | passed 2026-12-24; 2 cases |" in page
    assert "| nightly | passed 2026-12-24; 2 cases | 1,200 kills |" in page
    assert "The results are of: a machine." in page
    assert list(proofs.results()["tests"]) == [marked.test]


@pytest.mark.parametrize(
    ("promises_of", "told"),
    [(("no.such",), "no such promise"), (("claim.one-winner",), "right above the test")],
)
def test_a_mark_that_the_page_would_not_show_is_refused(
    promises_of: tuple[str, ...], told: str
) -> None:
    mark = SimpleNamespace(args=promises_of)
    item: Any = SimpleNamespace(nodeid="tests/x.py::test_x", iter_markers=lambda name: [mark])
    with pytest.raises(pytest.UsageError, match=told):
        recording.pytest_collection_modifyitems([item])


def test_of_several_cases_the_worst_is_kept_and_their_figures_are_added(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kept: dict[str, Any] = {}
    monkeypatch.setattr(proofs, "record", lambda machine, fresh: kept.update(fresh))
    recorder = recording.Recorder(SimpleNamespace(getoption=lambda name: 0.5))  # type: ignore[arg-type]

    def report(case: str, outcome: str, when: str = "call", **figures: int) -> Any:
        return SimpleNamespace(
            nodeid=f"tests/x.py::test_x[{case}]", outcome=outcome, when=when,
            failed=outcome == "failed", keywords={"proves": 1, "nightly": 1},
            user_properties=[("figures", figures)],
        )  # fmt: skip

    recorder.pytest_runtest_logreport(report("a", "passed", kills=2))
    recorder.pytest_runtest_logreport(report("b", "failed", kills=3))
    recorder.pytest_runtest_logreport(report("b", "passed", when="teardown"))
    recorder.pytest_sessionfinish()
    result = kept["tests/x.py::test_x"]
    assert (result["outcome"], result["cases"], result["scale"]) == ("failed", 2, 0.5)
    assert result["figures"] == {"kills": 5}
