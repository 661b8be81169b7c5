"""Which of the media types on offer a client's `Accept` prefers."""

from __future__ import annotations

from collections.abc import Iterator

from keeptrusts_runners.errors import NotAcceptable


def choose(accept: str | None, offered: tuple[str, ...]) -> str:
    """The best of `offered`, the first one when all are equal. Raises NotAcceptable."""
    if not accept or accept == "*/*":
        return offered[0]
    ranges = list(_ranges(accept))
    quality, best = max(
        ((_quality(ranges, media_type), -index) for index, media_type in enumerate(offered)),
    )
    if quality <= 0:
        raise NotAcceptable(available=list(offered))
    return offered[-best]


def _ranges(accept: str) -> Iterator[tuple[str, float]]:
    for part in accept.split(","):
        media_range, *parameters = (piece.strip().lower() for piece in part.split(";"))
        if media_range:
            yield media_range, _weight(parameters)


def _weight(parameters: list[str]) -> float:
    for parameter in parameters:
        if parameter.startswith("q="):
            try:
                return min(max(float(parameter[2:]), 0.0), 1.0)
            except ValueError:
                return 0.0
    return 1.0


def _quality(ranges: list[tuple[str, float]], media_type: str) -> float:
    """The weight of the most specific range that covers this type (RFC 9110, §12.5.1)."""
    kind = media_type.partition("/")[0]
    found = dict(ranges)
    for media_range in (media_type, f"{kind}/*", "*/*"):
        if media_range in found:
            return found[media_range]
    return 0.0
