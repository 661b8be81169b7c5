"""`/metrics`: how the installation fares, for Prometheus.

Every figure is read from the database when somebody asks, so that each of many processes says the
same. They are sums over all organizations and name none.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, ClassVar

from django.conf import settings
from django.http import HttpResponse
from prometheus_client import Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.registry import Collector
from rest_framework.request import Request

from keeptrusts_runners.api.answers import TEXT
from keeptrusts_runners.api.views import PublicViewSet
from keeptrusts_runners.errors import NotFound

Collect = Callable[[], Iterable[Metric]]
_collects: list[Collect] = []

# Anybody may ask, and the answer costs a walk over what is open: once a second is often enough.
KEPT_SECONDS = 1.0


def register(collect: Collect) -> None:
    """Add metrics to `/metrics`. It reads what it tells; what it raises is the answer."""
    _collects.append(collect)


class _All(Collector):
    def collect(self) -> Iterator[Metric]:
        for collect in _collects:
            yield from collect()


class _Kept:
    """The last page, for as long as KEPT_SECONDS; of many who ask at once, one reads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._page, self._until = b"", 0.0

    def page(self) -> bytes:
        with self._lock:
            if time.monotonic() >= self._until:
                self._page = generate_latest(_All())
                self._until = time.monotonic() + KEPT_SECONDS
            return self._page


_kept = _Kept()


class MetricsViewSet(PublicViewSet):
    """For monitoring."""

    tag = "Health"
    media_types: ClassVar = {"read": (TEXT,)}
    refuses: ClassVar = {"read": (NotFound,)}

    def read(self, request: Request, **_: Any) -> HttpResponse:
        """Get figures about all organizations, in the text format of Prometheus.

        404 where `KEEPTRUSTS_METRICS` is false.
        """
        if not settings.METRICS:
            raise NotFound
        return HttpResponse(_kept.page(), content_type=CONTENT_TYPE_PLAIN_0_0_4)
