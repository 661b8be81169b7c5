"""Figures, their ratios and targets, and how they are shown."""

from __future__ import annotations

import json

import pytest

from bench import report
from bench.figures import Figure, Target, figure


def test_a_ratio_is_taken_within_each_round_and_only_then_its_median() -> None:
    found = figure("claims", "1/s", [100, 100, 300], [200, 400, 300])
    assert found.ratio is not None
    assert found.ratio.values == (0.5, 0.25, 1.0)
    assert found.ratio.median == 0.5


@pytest.mark.parametrize(
    ("target", "text", "met"),
    [
        (Target(least=0.5), "≥ 0.5×", True),
        (Target(least=0.6), "≥ 0.6×", False),
        (Target(most=0.4), "≤ 0.4×", False),
        (Target(most=50, of_ratio=False), "≤ 50", True),
        (Target(least=50, of_ratio=False), "≥ 50", False),
    ],
)
def test_a_target_is_of_the_ratio_or_of_the_figure_itself(
    target: Target, text: str, met: bool
) -> None:
    assert str(target) == text
    assert figure("claims", "1/s", [20, 20], [40, 40], target=target).met is met


def test_without_a_target_nothing_is_met_or_missed() -> None:
    assert figure("claims", "1/s", [20]).met is None


def shown(*figures: Figure) -> list[dict[str, object]]:
    return [json.loads(json.dumps(one.as_json())) for one in figures]


def test_the_table_has_a_row_for_each_figure_and_says_what_it_is_against() -> None:
    rows = shown(
        figure("claims", "1/s", [1234, 1300], [2000, 2600], target=Target(least=0.3)),
        figure("memory", "MiB", [94.25]),
    )
    head, claims, memory = report.table(rows).splitlines()
    assert head.split() == [
        "figure",
        "median",
        "min–max",
        "against",
        "ratio",
        "min–max",
        "target",
        "met",
    ]
    assert claims.split() == [
        *("claims", "1,267", "1/s", "1,234–1,300", "R:", "2,300"),
        *("0.56×", "0.50–0.62", "≥", "0.3×", "yes"),
    ]
    assert memory.split() == ["memory", "94.2", "MiB"]
