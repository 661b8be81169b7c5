"""Named searches over the audit log and the log of each organization.

The indexes of the audit log begin with the organization, so each of these looks into every
organization's part of them, and takes its newest.
"""

from __future__ import annotations

from keeptrusts_runners.investigations.questions import Investigation

# By evidence_audit_verb.
_BY_VERB = """
SELECT found.id FROM identity_organization o CROSS JOIN LATERAL (
  SELECT id, body FROM evidence_audit a
   WHERE a.organization_id = o.id AND {condition}
     AND a.id > %(since)s
   ORDER BY id DESC LIMIT 1000
) AS found {having} ORDER BY found.id DESC
"""
_DENIED = _BY_VERB.format(
    condition="a.verb = 'access.denied'",
    having="WHERE (convert_from(found.body, 'UTF8')::json -> 'detail' ->> 'count')::int >= 10",
)
_STAFF = _BY_VERB.format(
    condition="a.verb IN ('staff.viewed', 'staff.exported', 'staff.cancelled', 'staff.held')",
    having="",
)
_EXPORTS = _BY_VERB.format(
    condition="a.verb IN ('staff.exported', 'events.exported', 'evidence.exported')", having=""
)
_PEOPLE = _BY_VERB.format(
    condition="a.verb IN ('member.added', 'member.role_changed', 'member.removed',"
    " 'service_account.created', 'service_account.secret_rotated', 'service_account.revoked')",
    having="",
)
_REDACTED = _BY_VERB.format(
    condition="a.verb IN ('evidence.redacted', 'hold.placed', 'hold.lifted')", having=""
)
# By evidence_denial_due: what has not yet become a record.
_BURSTS_NOW = "SELECT id FROM evidence_denial WHERE count >= 10 ORDER BY minute DESC"
# One row for each organization.
_REFUSED = "SELECT organization_id FROM evidence_log WHERE refused <> '' ORDER BY refused_since"
_BEHIND = "SELECT organization_id FROM evidence_log WHERE published_size < size"

OF_AUDIT = (
    Investigation(
        "denied", "Bursts of denied access, past 7 days",
        "Ten or more of one kind in a minute by one principal.", _DENIED,
    ),
    Investigation(
        "people", "Changes of people, roles and machines, past 7 days",
        "Who could act, since when, and who let them.", _PEOPLE,
    ),
    Investigation(
        "redactions", "Redactions and holds, past 7 days",
        "What can no longer be read, and what must not be forgotten.", _REDACTED,
    ),
    Investigation(
        "exports", "Exports, past 7 days", "What left in bulk, and with whom.", _EXPORTS
    ),
    Investigation(
        "staff", "What staff looked at and did, past 7 days",
        "Your own looks are among them.", _STAFF,
    ),
)  # fmt: skip
OF_DENIALS = (
    Investigation(
        "bursts", "Bursts in this minute", "Ten or more of one kind by one principal.", _BURSTS_NOW
    ),
)
OF_LOGS = (
    Investigation(
        "refused", "Logs that are not signed",
        "The signer found them rolled back or torn, and says why.", _REFUSED,
    ),
    Investigation(
        "behind", "Logs whose file outside is behind",
        "The newest checkpoint is not in the file outside the database yet.", _BEHIND,
    ),
)  # fmt: skip
