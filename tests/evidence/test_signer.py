"""The signer: what it anchors, what it refuses to sign, and that no crash costs anything."""

from __future__ import annotations

import threading
from collections import Counter
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
import structlog
from django.conf import settings
from django.db import connections, transaction

from grants import ledger
from keeptrusts_runners import ids
from keeptrusts_runners.evidence import log_keys, merkle, signer
from keeptrusts_runners.evidence.audit_models import AuditRecord
from keeptrusts_runners.evidence.checkpoint import TreeHead, read_checkpoint, sign_checkpoint
from keeptrusts_runners.evidence.leaves import Leaf
from keeptrusts_runners.evidence.log_models import LogKey
from keeptrusts_runners.evidence.verifier.ed25519 import verify_signature
from keeptrusts_runners.keys import SigningKey, load
from sessions import lifecycle
from tests import factories
from tests.evidence import logs
from tests.people import Org


@pytest.fixture
def org() -> Org:
    return Org()


def entry(org, leaf):
    raw = Leaf(org.id.bytes, leaf.kind, leaf.subject.bytes, leaf.seq, bytes(leaf.hash))
    return merkle.leaf_hash(raw.entry())


def assert_whole(org) -> None:
    """Every checkpoint is signed and is of the leaves that there are; the file has all of them."""
    found = [entry(org, leaf) for leaf in logs.leaves(org)]
    assert [leaf.index for leaf in logs.leaves(org)] == list(range(len(found)))
    notes = []
    for row in logs.checkpoints(org):
        signed = read_checkpoint(row.note.encode())
        assert signed.head.origin == f"keeptrusts.runners/{ids.encode('org', org.id)}"
        assert (signed.head.size, signed.head.root) == (row.size, bytes(row.root))
        assert signed.head.root == merkle.root_of_leaves(found[: row.size])
        keys = [bytes(key.public_key) for key in LogKey.objects.using("signer").all()]
        assert any(signed.signed_by(key, verify_signature) for key in keys)
        notes.append(row.note)
    log = logs.log_of(org)
    assert (log.size, log.published_size, log.refused) == (len(found), len(found), "")
    assert logs.file_of(org).path.read_text() == "".join(f"{note}\n" for note in notes)


@contextmanager
def said():
    """What is logged within."""
    with structlog.testing.capture_logs() as records:
        yield records


# --- what it anchors -------------------------------------------------------------------------


@pytest.mark.proves("evidence.anchor-every")
def test_every_head_waits_and_one_pass_anchors_it(org):
    session = logs.running_session(org)
    head = logs.pending_session(org)
    assert {row.subject for row in logs.pending(org)} >= {session.id, head.id}
    assert signer.anchor(org.id)["checkpoints"] == 1
    assert logs.pending(org) == []
    newest = {leaf.subject: leaf for leaf in logs.leaves(org)}
    with org.scope():
        for each in (session, head):
            stands = ledger.lock_heads([each.id])[each.id]
            assert (newest[each.id].seq, bytes(newest[each.id].hash)) == (stands.seq, stands.hash)
    assert_whole(org)


def test_of_many_heads_of_a_session_the_newest_is_anchored_once(org):
    session = logs.running_session(org)
    written = [row for row in logs.pending(org) if row.subject == session.id]
    assert len(written) >= 3
    signer.anchor(org.id)
    anchored = [leaf for leaf in logs.leaves(org) if leaf.subject == session.id]
    assert [leaf.seq for leaf in anchored] == [written[-1].seq]


@pytest.mark.proves("evidence.anchor-every")
def test_a_head_that_is_written_without_the_product_waits_too(org):
    session = logs.pending_session(org)
    signer.anchor(org.id)
    with connections["migrate"].cursor() as cursor:
        cursor.execute(
            "UPDATE runner_ledger_head SET seq = seq + 1, hash = sha256('x') WHERE session_id = %s",
            [session.id],
        )
    (row,) = logs.pending(org)
    assert (row.kind, row.subject, row.seq) == ("session", session.id, 2)


@pytest.mark.proves("evidence.anchor-every")
def test_every_audit_record_waits_and_is_anchored_by_its_digest(org):
    factories.profile(org)
    signer.anchor(org.id)
    rows = AuditRecord.objects.using("forensics").filter(organization_id=org.id)
    recorded = {row.id: bytes(row.digest) for row in rows}
    assert len(recorded) >= 2
    anchored = {x.subject: bytes(x.hash) for x in logs.leaves(org) if x.kind == "audit"}
    assert anchored == recorded
    assert_whole(org)


def test_what_is_rolled_back_does_not_wait(org):
    session = logs.pending_session(org)
    signer.anchor(org.id)
    by = org.operator.principal
    with org.scope():
        lifecycle.cancel(session.id, by=by)
        transaction.set_rollback(True)
    assert logs.pending(org) == []


def test_nothing_new_is_no_new_checkpoint(org):
    logs.an_anchored_log(org, 2)
    before = logs.checkpoints(org)
    assert signer.anchor(org.id) == Counter(leaves=0, checkpoints=0)
    assert logs.checkpoints(org) == before


def test_a_log_of_more_than_a_batch_and_more_than_a_tile(org, monkeypatch):
    monkeypatch.setattr(signer, "BATCH", 100)
    on = factories.profile(org)
    length = 600
    by = org.operator.principal
    queued = factories.queue(org, on, length)
    logs.pending_session(org, on)
    with org.scope():
        lines = [ledger.Record("log", by.actor, 0, message="m", source="runner")]
        ledger.append(dict.fromkeys(queued, lines))
    assert len(logs.pending(org)) == length + 2
    for _ in range(20):
        signer.anchor(org.id)
    assert len(logs.leaves(org)) >= length
    assert len(logs.checkpoints(org)) == 7
    assert_whole(org)


def test_one_pass_serves_several_organizations():
    orgs = [Org() for _ in range(3)]
    for each in orgs:
        logs.pending_session(each)
    for _ in range(10):
        signer.run_once()
        if not any(logs.pending(each) for each in orgs):
            break
    for each in orgs:
        assert_whole(each)


def test_a_pass_ends_in_time_and_the_next_goes_on(monkeypatch):
    monkeypatch.setattr(signer, "PASS_SECONDS", 0)
    orgs = [Org() for _ in range(3)]
    for each in orgs:
        logs.pending_session(each)
    passes = 0
    while any(logs.pending(each) for each in orgs):
        assert signer.run_once()["checkpoints"] <= 1
        passes += 1
        assert passes < 200
    assert passes >= 3


def test_two_signers_at_once_append_everything_once(org):
    on = factories.profile(org)
    sessions = {logs.pending_session(org, on).id for _ in range(40)}
    failures = []

    def sign():
        try:
            for _ in range(15):
                signer.anchor(org.id)
        except Exception as error:
            failures.append(error)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=sign) for _ in range(2)]
    original, signer.BATCH = signer.BATCH, 3
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        signer.BATCH = original
    assert failures == []
    assert sorted(leaf.subject for leaf in logs.leaves(org)) == sorted(sessions)
    assert_whole(org)


# --- crashes ---------------------------------------------------------------------------------


class Killed(BaseException):
    """Whatever comes after this did not happen in this process."""


def dies(*args, **kwargs):
    raise Killed


@pytest.mark.proves("evidence.anchor-crash")
@pytest.mark.parametrize(
    "place", ["signer._append", "signer._store", "signer._publish",
              "checkpoint_file.os.pwrite", "checkpoint_file.os.fsync"],
)  # fmt: skip
def test_a_signer_that_dies_anywhere_loses_and_repeats_nothing(org, monkeypatch, place):
    logs.an_anchored_log(org, 2)
    logs.pending_session(org)
    monkeypatch.setattr(f"keeptrusts_runners.evidence.{place}", dies)
    with pytest.raises(Killed):
        signer.anchor(org.id)
    monkeypatch.undo()
    signer.anchor(org.id)
    assert len(logs.leaves(org)) == 3
    assert_whole(org)


@pytest.mark.proves("evidence.anchor-crash")
def test_a_checkpoint_that_is_in_the_file_alone_is_published_without_repeating_it(org, monkeypatch):
    """Killed after the file is on disk and before the database knows."""
    logs.an_anchored_log(org, 2)
    logs.pending_session(org)
    monkeypatch.setattr(signer, "_PUBLISH", "SELECT 1/0 WHERE %s > 0 AND %s IS NOT NULL")
    with pytest.raises(Exception, match="division by zero"):
        signer.anchor(org.id)
    monkeypatch.undo()
    log = logs.log_of(org)
    assert (log.size, log.published_size) == (3, 2)
    assert logs.file_of(org).last().head.size == 3
    signer.anchor(org.id)
    assert_whole(org)


def test_a_lost_file_begins_anew_and_says_so(org):
    logs.an_anchored_log(org, 2)
    logs.file_of(org).path.unlink()
    logs.pending_session(org)
    with said() as records:
        signer.anchor(org.id)
    assert [r["event"] for r in records] == ["log.file_is_new"]
    assert logs.file_of(org).path.read_text() == logs.checkpoints(org)[-1].note + "\n"


# --- what it refuses -------------------------------------------------------------------------


@pytest.mark.proves("evidence.anchor-rollback")
def test_a_database_that_was_rolled_back_is_told_and_not_signed_over(org):
    logs.an_anchored_log(org, 2)
    saved = logs.backup(org)
    logs.pending_session(org)
    logs.pending_session(org)
    signer.anchor(org.id)
    logs.restore(org.id, saved)
    logs.pending_session(org)
    with said() as records, pytest.raises(signer.RolledBack, match="from size 4 to 2"):
        signer.anchor(org.id)
    with said() as records:
        signer.run_once()
        signer.run_once()
    (told,) = [r for r in records if r.get("organization") == ids.encode("org", org.id)]
    assert told["log_level"] == "error"
    assert "rolled back from size 4 to 2" in told["reason"]
    log = logs.log_of(org)
    assert (log.size, len(logs.pending(org))) == (2, 1)
    assert "rolled back from size 4 to 2" in log.refused


@pytest.mark.proves("evidence.anchor-rollback")
def test_an_idle_log_that_was_rolled_back_is_told(org):
    saved = logs.backup(org)
    logs.an_anchored_log(org, 2)
    logs.restore(org.id, saved)
    with said() as records:
        assert signer.run_once()["refused"] >= 1
    assert any("rolled back from size 2 to 0" in str(r.get("reason")) for r in records)


@pytest.mark.proves("evidence.anchor-rollback")
def test_another_log_of_the_same_size_is_told(org):
    """Rolled back, and signed by somebody who did not look at the file."""
    logs.an_anchored_log(org, 2)
    file = logs.file_of(org)
    head = file.last().head
    other = TreeHead(head.origin, head.size, bytes(32))
    file.append([sign_checkpoint(other, [SigningKey.generate()]).note()])
    logs.pending_session(org)
    with pytest.raises(signer.RolledBack, match="another log of size 2"):
        signer.anchor(org.id)


@pytest.mark.proves("evidence.anchor-rollback")
def test_an_accepted_rollback_is_recorded_in_the_log_itself(org):
    logs.an_anchored_log(org, 2)
    saved = logs.backup(org)
    logs.an_anchored_log(org, 2)
    lost = logs.file_of(org).last()
    logs.restore(org.id, saved)
    signer.run_once()
    assert signer.accept_rollback(org.id) == (4, 2)
    record = logs.leaves(org)[-1]
    assert (record.kind, record.subject, record.seq) == ("rollback", org.id, 4)
    assert bytes(record.hash) == lost.head.root
    logs.pending_session(org)
    signer.anchor(org.id)
    assert logs.log_of(org).refused == ""
    assert logs.file_of(org).last().head.size == 4
    aside = list(Path(settings.CHECKPOINTS_DIR).glob(f"{ids.encode('org', org.id)}*given-up*"))
    assert len(aside) == 1
    with pytest.raises(signer.RolledBack, match="nothing to accept"):
        signer.accept_rollback(org.id)


@pytest.mark.proves("evidence.anchor-apart")
def test_a_damaged_log_is_refused_and_holds_up_no_other(org):
    logs.an_anchored_log(org, 3)
    with logs.owner() as cursor:
        cursor.execute(
            "UPDATE evidence_tile SET hashes = set_byte(hashes, 40, get_byte(hashes, 40) # 1)"
            " WHERE organization_id = %s",
            [org.id],
        )
    other = Org()
    logs.pending_session(org)
    logs.pending_session(other)
    with said() as records:
        for _ in range(10):
            signer.run_once()
            if not logs.pending(other):
                break
    assert len([r for r in records if r.get("organization") == ids.encode("org", org.id)]) == 1
    assert_whole(other)
    assert "another root than was signed" in logs.log_of(org).refused
    assert len(logs.pending(org)) == 1


@pytest.mark.proves("evidence.anchor-apart")
def test_what_cannot_be_a_leaf_is_refused_and_holds_up_no_other(org):
    logs.pending_session(org)
    with connections["migrate"].cursor() as cursor:
        cursor.execute(
            "INSERT INTO evidence_pending (organization_id, kind, subject, seq, hash)"
            " VALUES (%s, 'session', %s, 1, 'short')",
            [org.id, ids.new()],
        )
    other = Org()
    logs.pending_session(other)
    for _ in range(10):
        signer.run_once()
        if not logs.pending(other):
            break
    assert_whole(other)
    assert "ValueError" in logs.log_of(org).refused
    with connections["migrate"].cursor() as cursor:
        cursor.execute("DELETE FROM evidence_pending WHERE hash = 'short'")
    signer.anchor(org.id)
    assert_whole(org)


@pytest.mark.proves("evidence.anchor-apart")
def test_a_file_that_cannot_be_read_holds_up_no_other(org):
    logs.an_anchored_log(org, 1)
    file = logs.file_of(org).path
    whole = file.read_bytes()
    file.write_bytes(b"spoilt\n\n\xe2\x80\x94 spoilt\n\n")
    (file.parent / "other.checkpoints").write_bytes(b"of somebody else")
    other = Org()
    logs.pending_session(org)
    logs.pending_session(other)
    for _ in range(10):
        signer.run_once()
        if not logs.pending(other):
            break
    assert_whole(other)
    assert "ValueError" in logs.log_of(org).refused
    file.write_bytes(whole)
    signer.anchor(org.id)
    assert_whole(org)


@pytest.mark.proves("evidence.log-grows")
@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE evidence_leaf SET seq = seq + 1",
        "DELETE FROM evidence_leaf",
        "TRUNCATE evidence_leaf",
        "UPDATE evidence_checkpoint SET note = ''",
        "DELETE FROM evidence_checkpoint",
        "UPDATE evidence_tile SET hashes = set_byte(hashes, 0, 1 # get_byte(hashes, 0))",
        "UPDATE evidence_tile SET hashes = substring(hashes FROM 1 FOR 32)",
        "DELETE FROM evidence_tile",
        "UPDATE evidence_log SET size = 1",
        "UPDATE evidence_log SET root = sha256('other')",
        "UPDATE evidence_log SET published_size = 0",
        "DELETE FROM evidence_log",
        "DELETE FROM evidence_log_key",
    ],
)
@pytest.mark.parametrize("role", ["default", "maintain", "signer", "migrate"])
def test_nobody_changes_or_shortens_a_log(org, statement, role):
    logs.an_anchored_log(org, 2)
    where = "" if statement.startswith("TRUNCATE") else f" WHERE organization_id = '{org.id}'"
    if "log_key" in statement:
        where = ""
    refused = r"permission denied|append-only|only grows"
    with pytest.raises(Exception, match=refused), org.scope():
        connections[role].cursor().execute(statement + where)
    assert_whole(org)


# --- keys ------------------------------------------------------------------------------------


# The register is the database's and the key file the run's: what a test does to one it does to
# the other, and the tests after it go on with the new key.


@pytest.mark.proves("evidence.log-keys")
def test_a_replaced_key_signs_beside_the_new_one_until_its_end(org):
    logs.an_anchored_log(org, 1)
    old = load(settings.LOG_KEY_FILE)
    kid = log_keys.rotate(timedelta(days=30))
    new = load(settings.LOG_KEY_FILE)
    assert kid == new.kid != old.kid
    logs.an_anchored_log(org, 1)
    signed = logs.file_of(org).last()
    assert signed.signed_by(old.public_raw, verify_signature)
    assert signed.signed_by(new.public_raw, verify_signature)
    with pytest.raises(log_keys.KeyIsBeingReplaced):
        log_keys.rotate(timedelta(days=30))
    with connections["migrate"].cursor() as cursor:
        cursor.execute(
            "UPDATE evidence_log_key SET until = clock_timestamp() WHERE kid = %s", [old.kid]
        )
    logs.an_anchored_log(org, 1)
    signed = logs.file_of(org).last()
    assert not signed.signed_by(old.public_raw, verify_signature)
    assert signed.signed_by(new.public_raw, verify_signature)


@pytest.mark.proves("evidence.log-keys")
def test_a_replacement_that_was_interrupted_is_finished_by_running_it_again(org, monkeypatch):
    logs.an_anchored_log(org, 1)
    old = load(settings.LOG_KEY_FILE)
    monkeypatch.setattr(Path, "replace", dies)
    with pytest.raises(Killed):
        log_keys.rotate(timedelta(days=30))
    monkeypatch.undo()
    logs.an_anchored_log(org, 1)
    assert logs.file_of(org).last().signed_by(old.public_raw, verify_signature)
    log_keys.rotate(timedelta(days=30))
    logs.an_anchored_log(org, 1)
    signed = logs.file_of(org).last()
    assert {len(signed.signatures)} == {2}
    assert signed.signed_by(old.public_raw, verify_signature)
    end_overlap()


@pytest.mark.proves("evidence.log-keys")
def test_another_key_in_the_file_signs_nothing(org, monkeypatch, tmp_path):
    logs.an_anchored_log(org, 1)
    monkeypatch.setattr(settings, "LOG_KEY_FILE", tmp_path / "log.pem")
    logs.pending_session(org)
    with said() as records:
        assert signer.run_once() == Counter(no_key=1)
        assert signer.run_once() == Counter(no_key=1)
    (told,) = records
    assert (told["event"], told["log_level"]) == ("log.no_key", "error")
    (tmp_path / "log.pem").write_bytes(SigningKey.generate().private_pem())
    (tmp_path / "log.pem").chmod(0o600)
    with said() as records:
        assert signer.run_once() == Counter(no_key=1)
    assert "rotate-key" in records[0]["reason"]
    assert len(logs.pending(org)) == 1


def end_overlap() -> None:
    with connections["migrate"].cursor() as cursor:
        cursor.execute(
            "UPDATE evidence_log_key SET until = clock_timestamp() WHERE until IS NOT NULL"
        )
