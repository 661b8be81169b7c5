"""Ranges against a model that knows bytes one by one, and no spans."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from keeptrusts_runners.api import ranges
from keeptrusts_runners.errors import RangeNotSatisfiable

position = st.one_of(st.none(), st.integers(0, 60))
# Left and right of the dash; both missing, or the wrong way round, is no range.
pairs = st.lists(st.tuples(position, position), min_size=1, max_size=24)


def written(pairs: list[tuple[int | None, int | None]], gap: str = "") -> str:
    text = ["-".join("" if end is None else str(end) for end in pair) for pair in pairs]
    return "bytes=" + f"{gap},{gap}".join(text)


def is_range(pair: tuple[int | None, int | None]) -> bool:
    first, last = pair
    return pair != (None, None) and (first is None or last is None or first <= last)


def bytes_of(pair: tuple[int | None, int | None], size: int) -> list[int]:
    """Which of `size` bytes a range names, each by its number."""
    first, last = pair
    if first is None:
        return list(range(size))[-last:] if last else []
    return [n for n in range(size) if n >= first and (last is None or n <= last)]


@given(pairs, st.integers(0, 50), st.sampled_from(["", " ", "\t"]))
@example([(0, 0), (2, 2)], 3, "")
@example([(0, 0), (1, 1)], 3, "")
@example([(None, 0)], 3, "")
@example([(None, 5)], 0, "")
@example([(50, None), (0, 1)], 3, "")
@example([(5, 9), (0, 3), (3, 5)], 20, "")
def test_the_bytes_that_are_asked_for_are_answered_once_and_no_others(
    asked: list[tuple[int | None, int | None]], size: int, gap: str
) -> None:
    header = written(asked, gap)
    wanted = [bytes_of(pair, size) for pair in asked]
    if not all(map(is_range, asked)):
        assert ranges.parse(header, size) == []
        return
    if not any(wanted):
        with pytest.raises(RangeNotSatisfiable):
            ranges.parse(header, size)
        return
    try:
        spans = ranges.parse(header, size)
    except RangeNotSatisfiable:
        runs = sum(n - 1 not in set().union(*wanted) for n in set().union(*wanted))
        assert runs > ranges.MOST_PARTS
        return
    answered = [n for span in spans for n in range(span.start, span.end)]
    assert len(answered) == len(set(answered))
    assert set(answered) == set().union(*wanted)
    # No seams: each part is a part for a reason.
    assert all(span.end not in {other.start for other in spans} for span in spans)
    # In the order in which the first byte of each part was asked for.
    order = [n for each in wanted for n in each]
    places = [min(order.index(n) for n in range(span.start, span.end)) for span in spans]
    assert places == sorted(places)


@given(st.text(max_size=40), st.integers(0, 1000))
@example("bytes=0-1,x", 10)
@example("bytes=,", 10)
@example("bytes=0-1,,3-4", 10)
@example("bytes = 0-1", 10)
@example("bytes=\u0661-2", 10)
def test_no_header_is_anything_but_spans_the_whole_or_a_refusal(header: str, size: int) -> None:
    try:
        spans = ranges.parse(header, size)
    except RangeNotSatisfiable:
        return
    assert all(0 <= span.start < span.end <= size for span in spans)
    if spans:
        assert re.match(r"\s*bytes", header, re.I)


def test_too_many_separate_ranges_are_refused() -> None:
    parts = ",".join(f"{2 * n}-{2 * n}" for n in range(ranges.MOST_PARTS))
    assert len(ranges.parse(f"bytes={parts}", 1000)) == ranges.MOST_PARTS
    with pytest.raises(RangeNotSatisfiable):
        ranges.parse(f"bytes={parts},900-901", 1000)
    with pytest.raises(RangeNotSatisfiable):
        ranges.parse("bytes=" + "0-1," * 5000, 1000)
    # The same ones again and again are one.
    assert ranges.parse("bytes=" + ",".join(["0-1"] * 100), 1000) == [ranges.Span(0, 2)]
