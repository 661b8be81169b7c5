"""Two server processes for this folder: one as it is, and one that does everything at once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.live import live_url as live_url
from tests.live import serving
from tests.live_streams.reading import patched


@pytest.fixture(scope="session")
def quick_url(django_db_setup: None) -> Iterator[str]:
    """A server that reads a few events at a time and never rests, and that looks at access and
    gives a sign of life all the time."""
    often = {"CHECK_SECONDS": 0.1, "HEARTBEAT_SECONDS": 0.1, "REST_SECONDS": 0}
    with serving(**patched(grants__stream_room=often, grants__following={"ROWS": 5})) as url:
        yield url
