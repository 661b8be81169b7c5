"""kill -9 of a signer that runs apart, at each point where it could leave two truths behind."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from django.conf import settings
from django.db import connections

from tests import factories
from tests.commands.product import Product, Running, eventually, new_data_dir, remove_data_dir
from tests.evidence import logs
from tests.evidence.test_signer import assert_whole
from tests.faults.crash_house import FAILPOINTS, pointed_at
from tests.people import Org

# In the order in which a pass comes by them. The second commit is the one that publishes.
POINTS = ("before-commit", "after-commit", "before-fsync", "after-fsync")


@pytest.fixture(scope="module")
def product(django_db_setup: None) -> Iterator[Product]:
    data_dir = new_data_dir()
    product = Product(data_dir)
    with pytest.MonkeyPatch.context() as patch, pointed_at(data_dir):
        patch.setattr(settings, "LOG_KEY_FILE", data_dir / "keys" / "log.pem")
        patch.setattr(settings, "CHECKPOINTS_DIR", data_dir / "checkpoints")
        try:
            assert product.run("migrate", "--verbosity", "0").returncode == 0
            with kept_up(product):
                yield product
        finally:
            product.close()
    product.wait_until_gone()
    remove_data_dir(data_dir)


@contextmanager
def kept_up(product: Product) -> Iterator[None]:
    """The embedded server runs for as long as any process of the product uses it."""
    product.start("maintain", "--duties", "tokens").wait_until_said("maintain.started")
    try:
        yield
    finally:
        connections.close_all()


def start_signer(product: Product, points: Path) -> Running:
    return product.start(
        "maintain", "--duties", "signer", PYTHONPATH=str(FAILPOINTS), FAILPOINTS=str(points)
    )


@pytest.mark.proves("evidence.anchor-crash")
@pytest.mark.parametrize("point", POINTS)
def test_a_signer_killed_at_any_point_is_healed_by_the_next(
    product: Product, tmp_path: Path, point: str
) -> None:
    org = Org()
    logs.an_anchored_log(org, 2)
    logs.pending_session(org)
    (tmp_path / f"loop.{point}").touch()
    killed = start_signer(product, tmp_path)
    assert killed.wait(30) == -9
    before = logs.log_of(org)
    assert before is not None
    assert (before.size, before.published_size) == ((2, 2) if point == "before-commit" else (3, 2))

    healthy = start_signer(product, tmp_path)
    factories.pending(org)
    eventually(
        lambda: not logs.pending(org) and is_published_anew(org), "it goes on", instead=healthy.said
    )
    healthy.signal(15)
    assert healthy.wait(20) == 0
    assert "not_signed" not in healthy.said()
    assert_whole(org)


def is_published_anew(org: Org) -> bool:
    log = logs.log_of(org)
    return log is not None and log.size == log.published_size > 3
