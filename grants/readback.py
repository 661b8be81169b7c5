"""Direct uploads are read back, hashed, and become artifacts, or are refused.

A pass takes a bounded time and number of bytes. A large upload is read over many passes, whose
place and hash are kept in the process alone: after a restart it begins anew. One that fails loses
its turn to the next.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from uuid import UUID

import structlog
from django.db import connections

from grants import direct, storage
from grants.integrity import NOTHING, Reading
from grants.models import ArtifactStatus
from grants.storage import BlobMissing
from keeptrusts_runners.errors import DomainError

log = structlog.get_logger(__name__)

EVERY_SECONDS = 0.5
# The duties of the maintenance loop share one thread.
PASS_SECONDS = 0.5
PASS_BYTES = 256 << 20

# Served by runner_upload_verifying.
_NEXT = """
SELECT id, organization_id FROM runner_upload
 WHERE completed_at IS NOT NULL AND refused_at IS NULL AND placed_sha256 = '' AND id > %s
 ORDER BY id LIMIT 1
"""
_FIRST = UUID(int=0)


@dataclass
class Readback:
    """One process's way through the uploads, in the order of their ids and round again."""

    after: UUID = _FIRST
    work: Iterator[int] | None = None

    def run(self) -> Counter[str]:
        """One pass; counts of bytes, and of uploads that were judged or failed."""
        counts: Counter[str] = Counter()
        end = time.monotonic() + PASS_SECONDS
        while time.monotonic() < end and counts["bytes"] < PASS_BYTES:
            self.work = self.work or self._next()
            if self.work is None:
                break
            self._step(self.work, counts)
        return counts

    def _step(self, work: Iterator[int], counts: Counter[str]) -> None:
        try:
            done = next(work, None)
        except (DomainError, BlobMissing, OSError) as error:
            # Its store is away, its session has gone on, or the object is no more the one read.
            log.error("readback.failed", upload=str(self.after), reason=str(error))
            self.work = None
            counts["failed"] += 1
            return
        if done is None:
            self.work = None
            counts["judged"] += 1
        else:
            counts["bytes"] += done

    def _next(self) -> Iterator[int] | None:
        """None at the end of a round."""
        with connections["maintain"].cursor() as cursor:
            cursor.execute(_NEXT, [self.after])
            found = cursor.fetchone()
        self.after = found[0] if found else _FIRST
        return _judged(*found) if found else None


def _judged(upload_id: UUID, organization_id: UUID) -> Iterator[int]:
    """Steps of so many bytes; after the last the upload is an artifact, or refused."""
    upload = direct.waiting(organization_id, upload_id)
    if upload is None:
        return
    store, reading, version = storage.direct(), Reading(upload.sha256), ""
    try:
        version, chunks = store.open_received(organization_id, upload_id)
        for chunk in chunks:
            reading.add(chunk)
            yield len(chunk)
        finding = reading.finding
    except BlobMissing:
        finding = NOTHING
    if finding.status == ArtifactStatus.STORED:
        yield from store.place(organization_id, upload_id, version, upload.announced)
        direct.seal(upload)
    else:
        direct.refuse(upload, finding)
        store.discard(organization_id, upload_id)
        return
    direct.discard(upload)


_readback = Readback()


def run_once() -> Counter[str]:
    """One pass of this process."""
    return _readback.run()
