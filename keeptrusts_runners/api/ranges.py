"""Byte ranges (RFC 9110, §14): which parts of a representation a request asks for.

What is not a valid set of ranges is no request for ranges: the whole is answered. Ranges that
overlap or touch are answered as one, and too many that do not are refused, so that no request
makes an answer larger than the whole by more than its headers.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from django.http import HttpRequest
from rest_framework.request import Request

from keeptrusts_runners.errors import RangeNotSatisfiable

MOST_PARTS = 16
# More than this is not read at all; sixteen ranges of a large file are 650 characters.
MOST_CHARACTERS = 4096

_SET = re.compile(r"bytes[ \t]*=(.*)", re.ASCII | re.IGNORECASE)
_ONE = re.compile(r"(\d{0,19})-(\d{0,19})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Span:
    """The bytes from `start` up to and without `end`; never empty."""

    start: int
    end: int

    @property
    def length(self) -> int:
        return self.end - self.start

    def content_range(self, size: int) -> str:
        """The value of `Content-Range`, of `size` bytes in all."""
        return f"bytes {self.start}-{self.end - 1}/{size}"


def asked(request: HttpRequest | Request, size: int, tag: str) -> list[Span]:
    """The spans that a GET asks for of `size` bytes; none means the whole. Another version's, by
    `If-Range`, are not asked for. Raises RangeNotSatisfiable."""
    header = request.META.get("HTTP_RANGE")
    # A date in `If-Range` is none of our validators, and a weak tag never matches.
    if request.method != "GET" or header is None:
        return []
    if request.META.get("HTTP_IF_RANGE", tag).strip() != tag:
        return []
    return parse(header, size)


def parse(header: str, size: int) -> list[Span]:
    """The spans of a `Range` header, in its order. Raises RangeNotSatisfiable where there are no
    such bytes, or too many parts."""
    if len(header) > MOST_CHARACTERS:
        raise RangeNotSatisfiable("The Range header is too long.", size_bytes=size)
    if (found := _SET.fullmatch(header.strip())) is None:
        return []
    specifiers = [each.strip(" \t") for each in found[1].split(",")]
    bounds = [_bounds(each) for each in specifiers if each]
    if not bounds or None in bounds:
        return []
    spans = _joined([span for each in bounds if each and (span := _span(*each, size))])
    if not spans:
        raise RangeNotSatisfiable(size_bytes=size)
    if len(spans) > MOST_PARTS:
        detail = f"A request takes {MOST_PARTS} separate ranges at most."
        raise RangeNotSatisfiable(detail, size_bytes=size)
    return spans


def _bounds(specifier: str) -> tuple[int | None, int | None] | None:
    """First and last position of one range, either of which may be left out; None if invalid."""
    found = _ONE.fullmatch(specifier)
    if found is None or found[0] == "-":
        return None
    first, last = (int(digits) if digits else None for digits in found.groups())
    return None if first is not None and last is not None and last < first else (first, last)


def _span(first: int | None, last: int | None, size: int) -> Span | None:
    """None where there are no such bytes."""
    if first is None:
        start, end = max(0, size - (last or 0)), size
    else:
        start, end = first, size if last is None else min(size, last + 1)
    return Span(start, end) if start < end else None


def _joined(spans: list[Span]) -> list[Span]:
    """Without overlaps and without seams, each where the first of its parts stood."""
    joined: list[Span] = []
    for span in spans:
        near = [each for each in joined if each.start <= span.end and span.start <= each.end]
        if not near:
            joined.append(span)
            continue
        both = [*near, span]
        place = joined.index(near[0])
        joined = [each for each in joined if each not in near]
        joined.insert(place, Span(min(s.start for s in both), max(s.end for s in both)))
    return joined
