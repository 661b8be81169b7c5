"""`test`: what it hands to pytest."""

from __future__ import annotations

import pytest

from keeptrusts_runners.management.commands.test import pytest_arguments


@pytest.mark.parametrize(
    ("given", "handed"),
    [
        ([], ["-n", "2"]),
        (["tests/api", "-x"], ["-n", "2", "tests/api", "-x"]),
        (["--nightly"], ["-n", "1", "-m", "nightly"]),
        (["--nightly", "--scale", "0.1"], ["-n", "1", "-m", "nightly", "--scale", "0.1"]),
        (["-m", "proves", "-n", "0"], ["-m", "proves", "-n", "0"]),
    ],
)
def test_long_proofs_run_by_flag_and_alone(given: list[str], handed: list[str]) -> None:
    assert pytest_arguments(given) == handed
