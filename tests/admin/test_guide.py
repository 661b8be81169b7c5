"""docs/investigations.md leads where it says."""

from __future__ import annotations

import re

import pytest
from django.contrib import admin

from keeptrusts_runners import env
from keeptrusts_runners.investigations import acts, exports
from keeptrusts_runners.investigations.questions import Question
from tests.admin.staff import looker

GUIDE = (env.BASE_DIR / "docs" / "investigations.md").read_text()
LINKS = sorted(set(re.findall(r"`(/admin/[^`]*)`", GUIDE)))


@pytest.mark.parametrize("address", LINKS)
def test_each_step_of_the_guide_opens(address: str) -> None:
    response = looker().get(address)
    assert response.status_code == 200
    slug = address.partition("?find=")[2]
    if slug:
        assert f'href="?find={slug}" aria-current="true"' in response.content.decode()


def test_the_guide_asks_every_question_and_names_every_investigation() -> None:
    for question in Question:
        assert f"## {question.value}" in GUIDE
    for model, page in admin.site._registry.items():
        address = f"/admin/{model._meta.app_label}/{model._meta.model_name}/"
        for each in getattr(page, "investigations", ()):
            assert f"{address}?find={each.slug}" in LINKS


def test_the_guide_tells_the_bounds_as_they_are() -> None:
    assert f"at most {exports.MOST:,} rows" in GUIDE
    assert f"At most {acts.MOST_AT_ONCE} at once" in GUIDE
