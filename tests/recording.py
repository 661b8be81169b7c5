"""pytest's side of the proofs: marks that must name a promise, figures that a test reports,
lengths that `--scale` multiplies, and results that `--record` keeps for docs/proofs.md."""

from __future__ import annotations

import datetime
import os
import platform
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests import proofs
from tests.promises import PROMISES

TELL_SECONDS = 10.0
_WORST = ("error", "failed", "skipped", "passed")


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("proofs")
    group.addoption("--record", action="store_true", help="keep the results for docs/proofs.md")
    group.addoption(
        "--scale", type=float, default=1.0, metavar="X", help="lengths of the long proofs × X"
    )
    group.addoption(
        "--screenshots", action="store_true", help="draw docs/screenshots anew, in tests/browser"
    )
    group.addoption(
        "--incidents", action="store_true", help="write docs/incidents.md anew, in tests/browser"
    )


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--record") and not hasattr(config, "workerinput"):
        config.pluginmanager.register(Recorder(config), "recorder")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A mark that the page would not show is a mistake."""
    known = {proof.test: proof.promises for proof in proofs.proofs()}
    for item in items:
        marked = [key for mark in item.iter_markers("proves") for key in mark.args]
        if unknown := [key for key in marked if key not in PROMISES]:
            raise pytest.UsageError(f"{item.nodeid}: no such promise: {', '.join(unknown)}")
        if set(marked) != set(known.get(_function(item.nodeid), ())):
            raise pytest.UsageError(f"{item.nodeid}: put the mark right above the test")


def _function(node_id: str) -> str:
    """The id of the test without its parameters; of a class's test, of the class."""
    return "::".join(node_id.partition("[")[0].split("::")[:2])


# --- what tests report -----------------------------------------------------------------------


class Figures:
    """Counts of a test, by what is counted. Threads may share it; `tell` is for the test's own."""

    def __init__(self, request: pytest.FixtureRequest) -> None:
        self.counts: dict[str, int] = {}
        self._request, self._lock = request, threading.Lock()
        self._began = self._told = time.monotonic()

    def count(self, what: str, number: int = 1) -> None:
        with self._lock:
            self.counts[what] = self.counts.get(what, 0) + number

    def most(self, what: str, number: int) -> None:
        with self._lock:
            self.counts[what] = max(self.counts.get(what, 0), number)

    def tell(self) -> None:
        """In a long proof, say now and then on the terminal how far it is."""
        now = time.monotonic()
        nightly = self._request.node.get_closest_marker("nightly")
        if nightly is None or now - self._told < TELL_SECONDS:
            return
        self._told = now
        said = ", ".join(f"{number:,} {what}" for what, number in self.counts.items())
        capture = self._request.config.pluginmanager.getplugin("capturemanager")
        with capture.global_and_fixture_disabled():
            print(
                f"  {self._request.node.name}: {said} ({now - self._began:.0f} s)", file=sys.stderr
            )


@pytest.fixture
def figures(request: pytest.FixtureRequest) -> Figures:
    """What the test counts; it is kept with the test's result."""
    made = Figures(request)
    request.node.user_properties.append(("figures", made.counts))
    return made


@pytest.fixture
def length(pytestconfig: pytest.Config) -> Callable[..., int]:
    """`length(10_000)`: so many, or as many as `--scale` makes of it, but at least `least`."""
    scale: float = pytestconfig.getoption("--scale")
    return lambda full, least=1: max(least, round(full * scale))


# --- what is kept ----------------------------------------------------------------------------


class Recorder:
    """The results of the run's marked tests, by test; of several cases the worst counts."""

    def __init__(self, config: pytest.Config) -> None:
        self._scale: float = config.getoption("--scale")
        self._results: dict[str, dict[str, Any]] = {}
        self._cases: set[str] = set()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if "proves" not in report.keywords:
            return
        result = self._results.setdefault(_function(report.nodeid), self._blank(report))
        outcome = "error" if report.failed and report.when != "call" else report.outcome
        result["outcome"] = min(result["outcome"], outcome, key=_WORST.index)
        if report.when == "call":
            result["cases"] += 1
            for what, number in dict(report.user_properties).get("figures", {}).items():
                figures = result.setdefault("figures", {})
                figures[what] = figures.get(what, 0) + number

    def _blank(self, report: pytest.TestReport) -> dict[str, Any]:
        today = datetime.datetime.now(datetime.UTC).date().isoformat()
        blank: dict[str, Any] = {"outcome": "passed", "date": today, "cases": 0}
        if "nightly" in report.keywords and self._scale != 1.0:
            blank["scale"] = self._scale
        return blank

    def pytest_sessionfinish(self) -> None:
        proofs.record(_machine(), self._results)


def _machine() -> str:
    return (
        f"{os.cpu_count()} processors, {platform.system()} {platform.machine()}, "
        f"Python {platform.python_version()}"
    )
