"""Which test holds which promise, what it last came to, and the page that says so.

A test holds a promise when it is marked with it: `@pytest.mark.proves("claim.once")`. The marks
are read from the sources, so that the page needs no run; the results are those of the last run
that was asked to keep them (`test --record`).
"""

from __future__ import annotations

import ast
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from tests.promises import AREAS, CHECKS, FOUND, NOT_YET, PROMISES

TESTS = Path(__file__).parent
RESULTS = TESTS / "proofs.json"


@dataclass(frozen=True, slots=True)
class Proof:
    """A test that holds promises. `test` is its id, `tests/…/test_x.py::test_y`."""

    test: str
    promises: tuple[str, ...]
    nightly: bool

    @property
    def tier(self) -> str:
        return "nightly" if self.nightly else "every run"


@cache
def proofs() -> tuple[Proof, ...]:
    """Every marked test, in the order of the files."""
    return tuple(proof for path in sorted(TESTS.rglob("test_*.py")) for proof in _in_file(path))


def held() -> dict[str, list[Proof]]:
    """Promise → the tests that hold it; those that nothing holds are there with none."""
    found: dict[str, list[Proof]] = {key: [] for key in PROMISES}
    for proof in proofs():
        for key in proof.promises:
            found.setdefault(key, []).append(proof)
    return found


# --- reading the marks -----------------------------------------------------------------------


def _in_file(path: Path) -> Iterator[Proof]:
    module = ast.parse(path.read_text())
    everywhere = [mark for node in module.body for mark in _module_marks(node)]
    for node in module.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name.lower().startswith(
            "test"
        ):
            marks = [*everywhere, *node.decorator_list]
            if promises := tuple(_promises(marks)):
                name = f"{path.relative_to(TESTS.parent)}::{node.name}"
                yield Proof(name, promises, any(_named(mark) == "nightly" for mark in marks))


def _module_marks(node: ast.stmt) -> list[ast.expr]:
    """What `pytestmark = …` gives to every test of a module."""
    if not (isinstance(node, ast.Assign) and _named(node.targets[0]) == "pytestmark"):
        return []
    return node.value.elts if isinstance(node.value, ast.List | ast.Tuple) else [node.value]


def _promises(marks: Iterable[ast.expr]) -> Iterator[str]:
    for mark in marks:
        if isinstance(mark, ast.Call) and _named(mark.func) == "proves":
            yield from (ast.literal_eval(argument) for argument in mark.args)


def _named(node: ast.expr) -> str:
    return getattr(node, "attr", getattr(node, "id", ""))


# --- results ---------------------------------------------------------------------------------


def results() -> dict[str, Any]:
    """`{"machine": …, "tests": {id: {outcome, date, cases, scale?, figures?}}}`."""
    if not RESULTS.exists():
        return {"machine": "", "tests": {}}
    kept: dict[str, Any] = json.loads(RESULTS.read_text())
    return kept


def record(machine: str, fresh: Mapping[str, Any]) -> None:
    """Replace the results of these tests; forget those of tests that are no more."""
    known = {proof.test for proof in proofs()}
    tests = {**results()["tests"], **fresh}
    kept = {test: result for test, result in sorted(tests.items()) if test in known}
    document = {"machine": machine, "tests": kept}
    RESULTS.write_text(json.dumps(document, indent=1, sort_keys=True) + "\n")


# --- the page --------------------------------------------------------------------------------

_HEAD = """\
# Proofs

Generated from the marks of the tests, `tests/promises.py` and `tests/proofs.json` by
`manage.py generate_docs`. What the product promises, the tests that fail when it does not hold,
whether they are part of every run or of the nightly one, and what they last came to.

`python3 manage.py test` is every run; `python3 manage.py test --nightly` runs the long proofs
alone, and with `--scale 0.1` a tenth of each. `--record` keeps the results for this page. A test
that is skipped for a reason that is not on the list of expected ones (`tests/conftest.py`) fails
the run.

{counts}

The results are of: {machine}.
"""


def render() -> str:
    """docs/proofs.md."""
    by_promise, kept = held(), results()
    held_by_some = sum(bool(proofs) for proofs in by_promise.values())
    counts = (
        f"{len(PROMISES)} promises; {held_by_some} are held by at least one test, "
        f"{len(PROMISES) - held_by_some} by none yet."
    )
    parts = [_HEAD.format(counts=counts, machine=kept["machine"] or "no run yet")]
    for area, keys in AREAS.items():
        parts += [
            f"\n## {area}\n",
            "| promise | held by | tier | last result |",
            "|---|---|---|---|",
        ]
        parts += [row for key in keys for row in _rows(key, by_promise[key], kept["tests"])]
    parts += _checks(by_promise)
    return "\n".join([*parts, *_counted(kept["tests"]), *_found()]) + "\n"


def _rows(key: str, proofs: list[Proof], kept: Mapping[str, Any]) -> Iterator[str]:
    sentence = PROMISES[key]
    if not proofs:
        yield f"| {sentence} | nothing yet: {NOT_YET.get(key, '?')} | – | – |"
    for proof in proofs:
        yield f"| {sentence} | {_link(proof)} | {proof.tier} | {_result(kept.get(proof.test))} |"
        sentence = ""


def _checks(by_promise: Mapping[str, list[Proof]]) -> Iterator[str]:
    yield "\n## Acceptance checks of the console\n"
    yield from ("| | check | tests |", "|---|---|---|")
    for number, (check, keys) in enumerate(CHECKS, start=1):
        links = dict.fromkeys(_link(proof) for key in keys for proof in by_promise[key])
        yield f"| {number} | {check} | {'; '.join(links)} |"


def _link(proof: Proof) -> str:
    """The test's name as the sentence that it is, leading to its file."""
    path, _, name = proof.test.partition("::")
    return f"[{name.removeprefix('test_').replace('_', ' ')}](../{path})"


def _result(result: Mapping[str, Any] | None) -> str:
    if result is None:
        return "not recorded"
    parts = [f"{result['outcome']} {result['date']}"]
    if result["cases"] > 1:
        parts.append(f"{result['cases']} cases")
    if "scale" in result:
        parts.append(f"scale {result['scale']:g}")
    return "; ".join(parts)


def _counted(kept: Mapping[str, Any]) -> Iterator[str]:
    yield "\n## What was counted\n"
    yield from ("| test | tier | last result | counts |", "|---|---|---|---|")
    for proof in proofs():
        result = kept.get(proof.test, {})
        if counts := result.get("figures"):
            told = ", ".join(f"{number:,} {what}" for what, number in counts.items())
            yield f"| {_link(proof)} | {proof.tier} | {_result(result)} | {told} |"


def _found() -> Iterator[str]:
    yield "\n## What they have found\n"
    yield "Defects of the product that these tests met, each repaired, each with a test since.\n"
    yield from ("| when | what | held since by |", "|---|---|---|")
    for when, what, test in FOUND:
        yield f"| {when} | {what} | [{test.partition('::')[0]}](../{test.partition('::')[0]}) |"
