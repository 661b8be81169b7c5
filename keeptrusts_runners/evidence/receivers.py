"""What identity tells of its changes, on the audit log."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from typing import Any
from uuid import UUID

from django.dispatch import receiver

from keeptrusts_runners.evidence import audit
from keeptrusts_runners.identity.signals import identity_changed

Facts = Mapping[str, Any] | None


@receiver(identity_changed, dispatch_uid="evidence.record_identity_changes")
def record_identity_changes(
    organization_id: UUID, verb: str, subject: str, before: Facts, after: Facts, **_: Any
) -> None:
    """The values stand in the record beside their digests: they are few, and what is asked for."""
    entry = audit.Entry(
        verb,
        subject,
        audit.actor(),
        _digest(before),
        _digest(after),
        {"before": before, "after": after},
    )
    audit.record(organization_id, [entry])


def _digest(facts: Facts) -> bytes | None:
    return None if facts is None else sha256(audit.canonical(facts)).digest()
