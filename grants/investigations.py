"""Named searches over grants and evidence of all organizations, each bounded."""

from __future__ import annotations

from keeptrusts_runners.investigations.questions import Investigation

# By runner_grant_active, as small as what is in force; its session by its key.
_AFTER_THE_END = """
SELECT g.id FROM runner_grant g JOIN runner_session s ON s.id = g.session_id
 WHERE g.state = 'active'
   AND (g.expires_at < statement_timestamp() - interval '1 minute'
        OR s.state NOT IN ('dispatched', 'running') OR s.lease_epoch <> g.lease_epoch)
 ORDER BY g.expires_at
"""
# By the primary key: what was asked for in the window; a probe of runner_grant_decision_once each.
_UNDECIDED = """
SELECT g.id FROM runner_grant g LEFT JOIN LATERAL (
  SELECT true AS taken FROM runner_grant_decision d WHERE d.grant_id = g.id LIMIT 1
) AS decision ON true
 WHERE g.id > %(since)s AND g.activated_at IS NOT NULL AND decision.taken IS NULL
 ORDER BY g.id DESC
"""
_REVOKED = """
SELECT id FROM runner_grant
 WHERE id > %(since)s
   AND state IN ('revoked', 'denied')
 ORDER BY id DESC
"""
# By runner_grant_waiting, as small as the inbox.
_WAITING = "SELECT id FROM runner_grant WHERE state = 'requested' ORDER BY request_lapses_at"
# By runner_verification_broken, as small as what is broken, and runner_verification_oldest.
_BROKEN = """
SELECT session_id FROM runner_verification WHERE verdict = 'broken' ORDER BY checked_at DESC
"""
_NOT_OF_LATE = """
SELECT session_id FROM runner_verification
 WHERE checked_at < statement_timestamp() - interval '7 days' AND verdict <> 'expired'
 ORDER BY checked_at
"""
# What waits is as little as the signer is behind; of a signer that is away for long, a part.
_UNANCHORED = """
SELECT DISTINCT subject FROM (
  SELECT subject FROM evidence_pending
   WHERE kind = 'session' AND at < statement_timestamp() - interval '1 minute' LIMIT 50000
) AS waiting
"""

# By runner_artifact_damaged, as small as what is damaged.
_DAMAGED = """
SELECT id FROM runner_artifact WHERE status IN ('broken', 'missing') ORDER BY checked_at DESC
"""

OF_ARTIFACTS = (
    Investigation(
        "damaged", "Artifacts that are not what was recorded",
        "Their bytes are gone or have another digest.", _DAMAGED,
    ),
)  # fmt: skip
OF_GRANTS = (
    Investigation(
        "after-end", "Active after their end",
        "Past their time, or their session has ended or changed hands. None can be used; the "
        "sweep should leave none.", _AFTER_THE_END,
    ),
    Investigation(
        "undecided", "In force without a decision, past 7 days",
        "Issued by a person, or by a rule of the profile that asks for no approval.", _UNDECIDED,
    ),
    Investigation(
        "refused", "Revoked or denied, past 7 days", "Where somebody said no.", _REVOKED
    ),
    Investigation(
        "waiting", "Waiting for a decision", "The one that lapses first comes first.", _WAITING
    ),
)  # fmt: skip
OF_VERIFICATIONS = (
    Investigation(
        "broken", "Broken chains",
        "What is stored is not what was recorded. The first bad record is named.", _BROKEN,
    ),
    Investigation(
        "old", "Not checked for 7 days", "The check in the background is behind.", _NOT_OF_LATE
    ),
)  # fmt: skip
OF_HEADS = (
    Investigation(
        "unanchored", "Heads not in the log for more than a minute",
        "The signer is away or refuses: until it is back these could be rolled back unnoticed.",
        _UNANCHORED,
    ),
)  # fmt: skip
