"""Entity tags, preconditions and content negotiation."""

from __future__ import annotations

from uuid import UUID

import pytest
from django.test import RequestFactory

from keeptrusts_runners import ids
from keeptrusts_runners.api import etag, negotiation
from keeptrusts_runners.errors import Malformed, NotAcceptable, PreconditionFailed

# Fixed: workers must name the same tests.
ID = UUID("01908f3c-0000-7000-8000-000000000001")
TAG = etag.strong(ID, 1)


def test_a_tag_is_equal_exactly_for_the_same_version_of_the_same_object() -> None:
    assert etag.strong(ID, 1) == TAG
    assert len({TAG, etag.strong(ID, 2), etag.strong(ids.new(), 1)}) == 3
    assert TAG.startswith('"')


@pytest.mark.parametrize("sent", [TAG, "*", f'"other", {TAG}', f'W/"x",{TAG}', f"{TAG},", None])
def test_matching_preconditions_pass(sent: str | None) -> None:
    etag.require_match(_request(HTTP_IF_MATCH=sent), TAG)


@pytest.mark.parametrize("sent", ['"other"', f"W/{TAG}", '"a", "b"', '""'])
def test_other_and_weak_tags_fail(sent: str) -> None:
    with pytest.raises(PreconditionFailed):
        etag.require_match(_request(HTTP_IF_MATCH=sent), TAG)


@pytest.mark.parametrize("sent", ["", "abc", '"open', '"a" "b"', "*, *", '"a"x', '"a b"'])
def test_what_is_no_list_of_tags_is_malformed(sent: str) -> None:
    with pytest.raises(Malformed):
        etag.require_match(_request(HTTP_IF_MATCH=sent), TAG)


def test_a_very_long_wrong_list_is_refused_quickly() -> None:
    with pytest.raises(Malformed):
        etag.require_match(_request(HTTP_IF_MATCH='"a", ' * 5000 + "x"), TAG)


@pytest.mark.parametrize(
    ("sent", "unchanged"),
    [(None, False), ("*", True), (TAG, True), (f"W/{TAG}", True), ('"other"', False)],
)
def test_unchanged_is_compared_weakly(sent: str | None, unchanged: bool) -> None:
    assert etag.is_unchanged(_request(HTTP_IF_NONE_MATCH=sent), TAG) is unchanged


def _request(**headers: str | None):  # type: ignore[no-untyped-def]
    return RequestFactory().get("/", **{k: v for k, v in headers.items() if v is not None})


JSON, LINES, TEXT = "application/json", "application/x-ndjson", "text/plain"


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        (None, JSON),
        ("", JSON),
        ("*/*", JSON),
        ("application/*", JSON),
        ("text/html,application/xhtml+xml,*/*;q=0.8", JSON),
        ("text/plain", TEXT),
        ("TEXT/PLAIN; charset=utf-8", TEXT),
        ("application/json;q=0.5, text/plain", TEXT),
        ("application/json;q=0, */*", LINES),
        ("text/*;q=0.9, application/x-ndjson;q=0.95", LINES),
    ],
)
def test_the_preferred_type_is_chosen(accept: str | None, chosen: str) -> None:
    assert negotiation.choose(accept, (JSON, LINES, TEXT)) == chosen


@pytest.mark.parametrize("accept", ["text/html", "application/json;q=0", "*/*;q=x", "image/*", ";"])
def test_what_is_not_on_offer_is_not_acceptable(accept: str) -> None:
    with pytest.raises(NotAcceptable) as refused:
        negotiation.choose(accept, (JSON,))
    assert refused.value.fields == {"available": [JSON]}
