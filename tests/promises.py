"""What the product promises, as sentences that a test can hold.

Areas are chapters of the contract. A promise that nothing holds yet is in NOT_YET with why; a
promise with neither a test nor a place there fails tests/docs/test_proofs.py.
"""

from __future__ import annotations

_AREAS: dict[str, dict[str, str]] = {
    "Ownership (contract §5, README)": {
        "claim.one-winner": "Of claims of one session at the same time exactly one wins.",
        "claim.no-double": "No session is handed out twice, however many claim and fail at once.",
        "claim.epoch-plus-one": "Each claim adds one to the lease epoch, which equals the claims.",
        "claim.order": "The next session is the most urgent, then the oldest.",
        "claim.past-backlog": "Sessions that nobody may take hold up no claim, however many.",
        "claim.honours": "A claim honours start times, labels, profiles, pauses and recalls.",
        "claim.id-repeats": "A claim repeated with its `claim_id` answers the same leases.",
        "claim.waits": "A waiting claim is answered with what is dispatched meanwhile.",
        "claim.first-come": "Waiting executors are served first come, first served.",
        "claim.lost-signal": "A lost wake-up costs a waiting claim two seconds at most.",
        "claim.at-rest": "A waiting executor holds no thread and no database connection.",
        "fence.every-write": "Every execution write is refused once its epoch is over.",
        "fence.frozen-runner": "A runner frozen past its lease can write nothing when it wakes.",
        "fence.epoch-not-clock": "The fence compares epochs and never clocks.",
        "fence.holder-only": "A runner writes to no session but those whose lease it holds.",
        "fence.session-token": "A session token reaches its own session under its own epoch.",
        "fence.stale-on-record": "Refused stale writes go on record.",
        "fence.desired-state": "Every answer to an executor says what the session is to become.",
    },
    "Lifecycle (contract §5)": {
        "life.table": "Every change is an edge of the one table; nothing else is possible.",
        "life.fold": "The present state is the fold of the recorded transitions.",
        "life.final": "Final is final.",
        "life.lease-states": "A lease is live exactly while dispatched, running or cancelling.",
        "life.model": "Any sequence of requests leads where the model of the contract leads.",
        "life.outcome-once": "An ending is recorded once per epoch; its repeat is the same answer.",
        "life.cancel-wins": "After an acknowledged cancel no outcome is `completed`.",
        "life.cancel-ladder": "A cancel is requested, acknowledged or forced, and always ends.",
        "life.pause-resume": "A pause hands over a checkpoint; a resume costs no attempt.",
        "life.checkpoints": "Checkpoints are numbered without gaps and handed to the next attempt.",
        "life.attempts": "A failure or lost lease is tried again while attempts remain.",
        "life.at-most-once": "What may happen at most once is never tried again once begun.",
        "life.disposition": "A person decides about a lost session, once and on record.",
        "life.retry-of": "A retry is a new session; the old one stays as it ended.",
        "life.pinned": "What runs is the harness revision that was pinned at dispatch.",
        "life.bulk": "Bulk actions work on a frozen filter and account for every session.",
        "life.summary": "Failures are summed up by reason, harness, profile or executor.",
        "life.executors": "Executors are listed, drained and evicted.",
    },
    "Nothing stays stuck (contract §5)": {
        "stuck.every-state-ends": "Time alone ends every open state.",
        "stuck.deadlines": "Every open session has a live lease or a deadline to come.",
        "stuck.nothing-overdue": "One settled pass leaves nothing overdue, also after crashes.",
        "stuck.live-not-reaped": "An acknowledged heartbeat in time is never reaped for silence.",
        "stuck.two-loops": "Maintenance loops at the same time do nothing twice.",
        "stuck.frozen-loop": "A frozen maintenance loop holds up no other.",
        "stuck.poison": "A session that cannot be settled holds up no other.",
        "stuck.brake": "A brake holds back mass expiry, for one lease at most.",
        "stuck.metric": "How many are overdue is a metric that reads zero.",
        "limit.held": "A profile never runs more than its limit.",
        "limit.no-leak": "A limit cannot leak: it is counted from live leases.",
        "limit.by-key": "A concurrency key never runs more than its limit.",
        "explain.why": "Why a session waits, and who holds what it waits for, can be asked.",
    },
    "Crashes and clocks (contract §5, §2)": {
        "crash.acknowledged": "What was acknowledged is there after kill -9 of any process.",
        "crash.all-or-nothing": "What was not acknowledged is there whole or not at all.",
        "crash.retry-once": "A request sent again with its key has one effect.",
        "crash.ledger-whole": "After any crash sequences are gapless and chains verify.",
        "crash.503": "Without its database the server answers 503 with Retry-After, never 500.",
        "crash.back": "After a crash the next claim succeeds within five seconds.",
        "crash.runner": "A killed runner's session goes on from its checkpoint.",
        "crash.kept-alive": "What serves and maintains is started again when it dies.",
        "repeat.same": "Duplicate, late and reordered requests end as if sent once.",
        "clock.database": "No decision depends on the clock of a process.",
    },
    "API (contract §2)": {
        "api.idempotency-key": "The same key and body give the same answer and one effect.",
        "api.bad-input": "Hostile input is refused with a 4xx that names it; nothing is stored.",
        "api.no-500": "Nothing that a client sends is answered with a 500.",
        "api.not-yours": "Another organization's object answers like an unknown one.",
        "api.pages": "Lists are stable while rows are inserted, and cost the same anywhere.",
        "api.etag": "A write against an older version changes nothing.",
        "api.published": "Routes, table and published document are the same.",
        "api.problems": "Every refusal is a problem document with a page.",
    },
    "Access (contract §4)": {
        "access.table": "Every route is open to exactly those whom the table names.",
        "access.bad-tokens": "No forged, expired, foreign or revoked token opens anything.",
        "access.next-request": "Revoked access ends with the next request.",
        "access.tenancy": "Row-level security shows no row of another organization.",
        "access.composite-keys": "No row can refer to another organization's.",
        "access.roles": "No role is a superuser or passes over row-level security.",
        "access.mass-assignment": "A write changes its own columns and no others.",
        "access.cookies": "The API takes no cookies; a form without its token does nothing.",
        "access.staff-audited": "Views of staff across organizations are audited.",
    },
    "Grants (contract §9)": {
        "grant.no-late-use": "No use stands after a grant's end.",
        "grant.ends-with-lease": "Grants end in the transaction that ends the lease.",
        "grant.clock": "Past its end a grant allows nothing, whether or not it was swept.",
        "grant.four-eyes": "Nobody approves what they asked for, dispatched or answer for.",
        "grant.narrow": "Approvers narrow and never widen.",
        "grant.single-use": "A grant for a single use is used once.",
        "grant.recorded": "Every request, decision, use, refusal and end is recorded.",
    },
    "Evidence (contract §6, §7)": {
        "ledger.same-transaction": "Nothing changes without its record, in one transaction.",
        "ledger.append-only": "No role that runs, and no owner, changes or deletes a record.",
        "ledger.gapless": "Writers at the same time leave no gap in a ledger.",
        "ledger.client-id": "An event repeated with its `client_id` is recorded once.",
        "events.histogram": "Counts over time, kept at ingest, are those of a recount.",
        "events.completeness": "What of a runner's numbering is missing is said exactly.",
        "events.bounded": "Whatever is looked for, a request looks at a bounded part of a ledger.",
        "events.search": "A search finds every match once, page by page, as it is written.",
        "events.export": "An export holds every record, however long the ledger is.",
        "evidence.tampering": "Every kind of tampering is found and the record named.",
        "evidence.offline": "A bundle verifies offline with one file and Python alone.",
        "evidence.hostile": "No hostile bundle verifies, or does more than fail.",
        "evidence.format": "The format is a page with vectors that both sides give.",
        "evidence.notes": "A person annotates a session in every state.",
        "evidence.redaction": "A redacted record loses its content, and its chain still verifies.",
        "evidence.hold": "Under a legal hold nothing is redacted and nothing expires.",
        "evidence.retention": "What a profile keeps for so many days is removed after them.",
        "evidence.self-check": "The product checks its own chains, and names the broken record.",
        "audit.every-mutation": "Every mutation and export is on the audit log, with its request.",
        "audit.denials": "Denied access is on the audit log, by principal, route and minute.",
        "audit.append-only": "No record of the audit log can be changed or removed.",
        "evidence.anchored": "A bundle is proved by a log whose checkpoints are kept elsewhere.",
        "evidence.anchor-every": "Every new head is anchored, whoever writes it, within seconds.",
        "evidence.anchor-proofs": "Inclusion and consistency proofs are those of RFC 6962.",
        "evidence.anchor-crash": "A signer that is killed anywhere loses and repeats nothing.",
        "evidence.anchor-rollback": "A database that was rolled back is found and not signed over.",
        "evidence.anchor-apart": "A log that cannot be signed holds up no other.",
        "evidence.log-grows": "A log only grows: no role of the product can change or shorten it.",
        "evidence.log-keys": "A key is replaced with an overlap, and never by accident.",
        "artifact.whole": "An artifact is visible only when whole, and inert when fetched.",
    },
    "Live reading (contract §6)": {
        "live.no-gap": "A stream shows every event once and in order, across reconnections.",
        "live.lost-signal": "A lost signal costs a stream seconds and no event.",
        "live.ends-with-access": "A stream ends within half a minute of its bearer's access.",
        "live.hints": "Whoever follows an organization is told when hints were dropped.",
        "live.stop": "A server that stops says goodbye to every stream.",
        "live.idle": "An open stream holds no thread and no database connection.",
    },
    "Running it (contract §10)": {
        "run.road": "One session goes from dispatch to verified evidence on a new machine.",
        "run.documents": "Commands in the documents work as they stand.",
        "run.stop": "Stopping ends every process, whatever clients are doing.",
        "run.settings": "A wrong setting is refused in one line that names it.",
        "run.seed": "Seeded sessions hold what is promised of real ones, and verify like them.",
        "run.runner": "The reference runner loses nothing to lost answers and outages.",
    },
    "The tests themselves": {
        "tests.controls": "Defects put in on purpose are found by the tests that should.",
    },
}

AREAS: dict[str, tuple[str, ...]] = {area: tuple(held) for area, held in _AREAS.items()}
PROMISES: dict[str, str] = {key: text for held in _AREAS.values() for key, text in held.items()}

NOT_YET: dict[str, str] = {}

# Defects of the product that these tests met: when, what, and the test that holds it since.
FOUND: tuple[tuple[str, str, str], ...] = (
    (
        "2026-11-25",
        "A server whose own clock was off refused good tokens, took those that were over, and "
        "signed browsers out.",
        "tests/faults/test_clocks.py::test_a_token_is_good_at_every_server_until_its_end",
    ),
    (
        "2026-11-25",
        "A PostgreSQL that was killed while it recovered, or five times within seconds, was never "
        "started again.",
        "tests/platform/test_postgres.py"
        "::test_a_server_that_is_killed_as_it_recovers_is_healed_too",
    ),
    (
        "2026-11-28",
        "With statistics that were a minute behind, a claim read and sorted the whole queue, up to "
        "three times.",
        "tests/sessions/test_queue.py::test_thousands_that_nobody_may_take_hold_up_nobody",
    ),
)
