"""The scrub: every artifact's bytes are read back in turn, slowly, for as long as there are any.

Whose check is the longest ago comes first, so that the rows themselves say where it is, and it goes
on there after a restart. A pass takes the bytes that have come to be its due since the last one; a
large blob is read over many passes, whose place and hash are kept in the process alone: after a
restart that blob begins anew.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from uuid import UUID

import structlog
from django.conf import settings
from django.db import connections

from grants import integrity, storage
from grants.integrity import NOTHING, Finding, Reading
from grants.storage import BlobMissing
from keeptrusts_runners.errors import StorageUnavailable
from keeptrusts_runners.identity import principal
from keeptrusts_runners.identity.tenancy import organization_scope

log = structlog.get_logger(__name__)

EVERY_SECONDS = 1
# The duties of the maintenance loop share one thread.
PASS_SECONDS = 0.25
# Bytes that were not read for longer are not made up for.
LONGEST_ARREARS_SECONDS = 2.0
MOST = 100
# What opening a blob and keeping its finding count as: small ones cost more than their bytes.
EACH_BYTES = 64 * 1024

# What was found damaged may have been put back, by runner_artifact_damaged; then whose check is
# the longest ago, by runner_artifact_oldest_check.
_DUE = """
(SELECT organization_id, sha256 FROM runner_artifact
  WHERE status IN ('broken', 'missing') AND checked_at < clock_timestamp() - interval '1 hour'
  ORDER BY checked_at LIMIT %(most)s)
UNION ALL
(SELECT organization_id, sha256 FROM runner_artifact
  WHERE status = 'stored'
    AND COALESCE(checked_at, created_at) < clock_timestamp() - interval '7 days'
  ORDER BY COALESCE(checked_at, created_at), id LIMIT %(most)s)
"""

Key = tuple[UUID, str]


@dataclass(frozen=True)
class _Opened:
    """The blob that is being read."""

    key: Key
    chunks: Iterator[bytes]
    reading: Reading


@dataclass
class Scrub:
    """One process's way through the blobs. What it may read is negative while it owes."""

    due: list[Key] = field(default_factory=list)
    opened: _Opened | None = None
    allowance: float = 0.0
    last: float = field(default_factory=time.monotonic)

    def run(self, bytes_per_second: int) -> Counter[str]:
        """One pass; counts of blobs by what was found, and of bytes."""
        counts: Counter[str] = Counter()
        now = time.monotonic()
        waited, self.last = min(now - self.last, LONGEST_ARREARS_SECONDS), now
        self.allowance = min(self.allowance, 0.0) + waited * bytes_per_second
        while self.allowance > 0 and time.monotonic() < now + PASS_SECONDS:
            if self.opened is not None:
                self._read(self.opened, counts)
            elif not self._begin(counts):
                break
        return counts

    def _begin(self, counts: Counter[str]) -> bool:
        """Open the next blob; False when none is due."""
        self.due = self.due or _due()
        if not self.due:
            return False
        key = self.due.pop(0)
        self.allowance -= EACH_BYTES
        try:
            self.opened = _Opened(key, storage.store().open_range(*key), Reading(key[1]))
        except BlobMissing:
            self._settle(key, NOTHING, counts)
        return True

    def _read(self, opened: _Opened, counts: Counter[str]) -> None:
        """One chunk, or the end."""
        chunk = next(opened.chunks, None)
        if chunk is None:
            self.opened = None
            self._settle(opened.key, opened.reading.finding, counts)
            return
        opened.reading.add(chunk)
        self.allowance -= len(chunk)
        counts["bytes"] += len(chunk)

    def _settle(self, key: Key, finding: Finding, counts: Counter[str]) -> None:
        counts[finding.status.value] += 1
        with organization_scope(key[0]):
            integrity.settle(*key, finding, by=principal.system(key[0]))


def _due() -> list[Key]:
    with connections["maintain"].cursor() as cursor:
        cursor.execute(_DUE, {"most": MOST})
        return list(dict.fromkeys(cursor.fetchall()))


_scrub = Scrub()


def run_once() -> Counter[str]:
    """One pass of this process's scrub, at the rate of the settings; 0 is none at all."""
    if settings.SCRUB_BYTES_PER_SECOND == 0:
        return Counter()
    try:
        return _scrub.run(settings.SCRUB_BYTES_PER_SECOND)
    except (OSError, StorageUnavailable) as error:
        # A blob that cannot be read is neither good nor gone. It keeps its turn; the rest goes on.
        log.error("scrub.failed", blob=_scrub.opened and _scrub.opened.key, reason=str(error))
        _scrub.opened = None
        return Counter(failed=1)
