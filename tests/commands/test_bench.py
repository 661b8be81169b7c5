"""`bench --quick`: every benchmark runs, on a database and a server of its own, and leaves nothing.

How fast anything is, is not a test's business.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from bench.catalog import BENCHMARKS
from keeptrusts_runners.env import BASE_DIR
from tests.commands.product import Product, new_data_dir, remove_data_dir

PATIENCE = 300


@pytest.fixture
def product() -> Iterator[Product]:
    directory = new_data_dir()
    product = Product(directory)
    yield product
    product.close()
    product.wait_until_gone()
    remove_data_dir(directory)


def kept() -> dict[str, bytes]:
    """What is recorded, which a quick run must leave alone."""
    pages = [BASE_DIR / "bench" / "README.md", *(BASE_DIR / "bench" / "results").glob("*")]
    return {str(path): path.read_bytes() for path in pages if path.exists()}


def assert_sane(figure: dict[str, Any]) -> None:
    assert figure["name"]
    assert figure["unit"]
    assert figure["min"] <= figure["median"] <= figure["max"]
    assert figure["min"] >= 0
    assert (figure["ratio"] is None) == (figure["reference"] is None)
    assert figure["ratio"] is None or figure["ratio"]["min"] > 0
    assert (figure["met"] is None) == (figure["target"] is None)


def test_every_benchmark_runs_and_says_what_it_found(product: Product) -> None:
    before, result = kept(), product.data_dir / "result.json"
    running = product.start("bench", "--quick", "--json", str(result))
    assert running.wait(PATIENCE) == 0, running.said()
    found = json.loads(result.read_text())
    assert [one["name"] for one in found["benchmarks"]] == list(BENCHMARKS)
    assert found["machine"]["postgresql"]
    for benchmark in found["benchmarks"]:
        for figure in benchmark["figures"]:
            assert_sane(figure)
            assert figure["name"] in running.said()
    assert kept() == before


def test_an_unknown_benchmark_is_named(product: Product) -> None:
    ended = product.run("bench", "gallop")
    assert ended.returncode != 0
    assert "No such benchmark: gallop." in ended.stderr
