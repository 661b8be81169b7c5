"""Bundles anchored in the organization's log: what a checkpoint from elsewhere then shows.

Here whoever tampers has the bundle's key, as whoever runs the server has, and not the log's.
"""

from __future__ import annotations

import json
from uuid import UUID

import pytest

from keeptrusts_runners import ids
from keeptrusts_runners.evidence import layout
from keeptrusts_runners.evidence.checkpoint import TreeHead, sign_checkpoint
from keeptrusts_runners.evidence.verifier import cli
from keeptrusts_runners.evidence.verifier.report import BROKEN, UNUSABLE, VERIFIED
from keeptrusts_runners.evidence.verifier.verification import verify_bundle
from keeptrusts_runners.keys import SigningKey
from tests.evidence.bundles import LOG_KEY, Bundle, Log, a_session, anchored, uuid

KEY = SigningKey.generate()


@pytest.fixture
def trusted(tmp_path):
    """Both keys with their purposes, as /v1/runners/evidence/keys gives them."""
    path = tmp_path / "keys.json"
    keys = [
        KEY.public_jwk() | {"purpose": "bundles"},
        LOG_KEY.public_jwk() | {"purpose": "checkpoints"},
    ]
    path.write_text(json.dumps({"keys": keys}))
    return str(path)


@pytest.fixture
def verify(tmp_path, trusted):
    def of(exported, key=trusted, **options):
        path = tmp_path / "bundle.tar"
        path.write_bytes(exported.pack() if isinstance(exported, Bundle) else exported)
        files = {}
        for name, content in options.items():
            files[name] = tmp_path / name
            files[name].write_bytes(content)
        return verify_bundle(path, key, **files)

    return of


def checked(report):
    return dict(report.checked)


# --- what holds ------------------------------------------------------------------------------


@pytest.mark.proves("evidence.anchored")
def test_an_anchored_bundle_lacks_nothing(verify):
    recorded = anchored(a_session())
    report = verify(recorded.export(KEY))
    assert (report.verdict, report.problems, report.missing) == (VERIFIED, [], [])
    assert checked(report)["Checkpoint"] == f"good, by the key that you trust, {LOG_KEY.kid}"
    last = len(recorded.rows)
    assert checked(report)["Anchor"] == f"record {last} is leaf 3 of 8 in the organization's log"
    assert (report.anchored_seq, report.log_size, report.log_key_pinned) == (last, 8, True)


@pytest.mark.parametrize("before", [0, 1, 2, 3, 7, 255])
@pytest.mark.parametrize("after", [0, 1, 6])
def test_wherever_its_leaf_stands(verify, before, after):
    recorded = a_session(1)
    recorded.log = Log([LOG_KEY]).fill(before).append(recorded).fill(after)
    assert verify(recorded.export(KEY)).verdict == VERIFIED


def test_records_after_the_anchor_are_named_as_pending(verify):
    recorded = anchored(a_session())
    last = len(recorded.rows)
    recorded.add("note", {"text": "later"})
    recorded.add("note", {"text": "and later"})
    report = verify(recorded.export(KEY))
    assert report.verdict == VERIFIED
    (missing,) = report.missing
    assert missing.startswith(f"an anchor of records {last + 1} to {last + 2}")


def test_a_bundle_without_an_anchor_says_so(verify):
    report = verify(a_session().export(KEY), key=KEY.kid)
    assert report.verdict == VERIFIED
    assert any(what.startswith("an anchor: no proof") for what in report.missing)


def test_either_key_can_be_pinned(verify):
    exported = anchored(a_session()).export(KEY)
    by_bundle_key = verify(exported, key=KEY.kid)
    assert by_bundle_key.verdict == VERIFIED
    assert (by_bundle_key.key_pinned, by_bundle_key.log_key_pinned) == (True, False)
    assert any(what.startswith("a key of the log that you trust") for what in by_bundle_key.missing)
    by_log_key = verify(exported, key=LOG_KEY.kid)
    assert by_log_key.verdict == VERIFIED
    assert (by_log_key.key_pinned, by_log_key.log_key_pinned) == (False, True)
    assert any("for all but what is anchored" in what for what in by_log_key.missing)
    assert verify(exported, key=SigningKey.generate().kid).verdict == BROKEN


def test_while_a_key_is_replaced_both_count(verify, tmp_path):
    new = SigningKey.generate()
    recorded = a_session()
    recorded.log = Log([new, LOG_KEY]).append(recorded)
    assert verify(recorded.export(KEY)).log_key_id == LOG_KEY.kid
    assert verify(recorded.export(KEY), key=new.kid).log_key_pinned


def test_refused_writes_are_in_the_bundle(verify):
    recorded = anchored(a_session())
    stale = {"operation": "events", "code": "lease_lost", "actor": "sa_1", "count": 3}
    recorded.refusals.append(stale | {"first_at": "2026-01-01T00:00:00.000000Z", "last_at": "x"})
    assert checked(verify(recorded.export(KEY)))["Refusals"].startswith("1 ")
    recorded.refusals.append({"operation": 5})
    assert verify(recorded.export(KEY)).first_bad.where == layout.REFUSALS


# --- tampering with both, by whoever has the bundle's key -------------------------------------


def changed(recorded, name, change):
    bundle = Bundle.open(recorded.export(KEY))
    return bundle.replace(name, change(bundle[name])).resign(KEY)


def with_anchor(recorded, **members):
    return changed(
        recorded, layout.ANCHOR, lambda raw: json.dumps(json.loads(raw) | members).encode()
    )


def with_leaf(recorded, **members):
    leaf = json.loads(Bundle.open(recorded.export(KEY))[layout.ANCHOR])["leaf"]
    return with_anchor(recorded, leaf=leaf | members)


def with_note(recorded, note):
    raw = note if isinstance(note, bytes) else note.note().encode()
    return changed(recorded, layout.LOG_CHECKPOINT, lambda _: raw)


def forged_checkpoint(recorded):
    return with_note(recorded, sign_checkpoint(recorded.log.head(), [SigningKey.generate()]))


def forged_with_the_bundle_key(recorded):
    return with_note(recorded, sign_checkpoint(recorded.log.head(), [KEY]))


def forged_root(recorded):
    log = Log([SigningKey.generate()]).fill(2).append(recorded)
    signed = sign_checkpoint(log.head(), log.keys)
    good = recorded.log.note().decode()
    signature = good.split("\n\n")[1]
    return with_note(recorded, (signed.head.text() + "\n" + signature).encode())


def forged_size(recorded):
    return changed(recorded, layout.LOG_CHECKPOINT, lambda raw: raw.replace(b"\n8\n", b"\n9\n", 1))


def swapped_organization(recorded):
    head = recorded.log.head()
    other = TreeHead(f"keeptrusts.runners/{ids.encode('org', uuid(77))}", head.size, head.root)
    return with_note(recorded, sign_checkpoint(other, [LOG_KEY]))


def swapped_session(recorded):
    return with_leaf(recorded, subject=ids.encode("sess", uuid(78)))


def leaf_of_another_kind(recorded):
    return with_leaf(recorded, kind="audit")


def leaf_of_another_record(recorded):
    return with_leaf(recorded, seq=2, hash=recorded.rows[1].hash.hex())


def another_index(recorded):
    return with_anchor(recorded, index=4)


def shorter_proof(recorded):
    return with_anchor(recorded, proof=recorded.log.anchor(recorded)[0]["proof"][:-1])


def changed_proof(recorded):
    proof = recorded.log.anchor(recorded)[0]["proof"]
    return with_anchor(recorded, proof=["00" * 32, *proof[1:]])


def dropped_leaf(recorded):
    """The log without this session's leaf, signed by the log's own key before it was there."""
    log = Log([LOG_KEY], leaves=[leaf for leaf in recorded.log.leaves if leaf.seq == 1])
    return with_note(recorded, log.note())


def shortened_chain(recorded):
    """Cut behind a record and signed again, while the log has a later one."""
    exported = recorded.copy()
    log, exported.log = exported.log, None
    del exported.rows[-1]
    bundle = Bundle.open(exported.export(KEY))
    full = Bundle.open(recorded.export(KEY))
    for name in (layout.ANCHOR, layout.LOG_CHECKPOINT, layout.KEYS):
        bundle = bundle.replace(name, full[name])
    assert log is not None
    return bundle.resign(KEY)


def rewritten_chain(recorded):
    """Every record from the fifth on made anew, chained and signed; the log has the old one."""
    exported = recorded.copy()
    exported.rows[4].at += 1
    exported.rechain(4)
    exported.log = recorded.log
    return exported.export(KEY)


def someone_elses_log_key(recorded):
    """A whole log of one's own, with a key named in keys.json."""
    forged = recorded.copy()
    forged.log = Log([SigningKey.generate()]).append(forged)
    return forged.export(KEY)


TAMPERINGS = {
    forged_checkpoint: (layout.LOG_CHECKPOINT, "not signed by the log's key that you trust"),
    forged_with_the_bundle_key: (layout.LOG_CHECKPOINT, "not signed by the log's key"),
    forged_root: (layout.LOG_CHECKPOINT, "not signed by the log's key"),
    forged_size: (layout.LOG_CHECKPOINT, "not signed by the log's key"),
    swapped_organization: (layout.LOG_CHECKPOINT, "of another log"),
    swapped_session: (layout.ANCHOR, "something else than this session"),
    leaf_of_another_kind: (layout.ANCHOR, "something else than this session"),
    leaf_of_another_record: (layout.ANCHOR, "does not show that the log has this leaf"),
    another_index: (layout.ANCHOR, "does not show that the log has this leaf"),
    shorter_proof: (layout.ANCHOR, "does not show that the log has this leaf"),
    changed_proof: (layout.ANCHOR, "does not show that the log has this leaf"),
    dropped_leaf: (layout.ANCHOR, "does not show that the log has this leaf"),
    shortened_chain: ("record", "the organization's log has record"),
    rewritten_chain: ("record", "not the one that the organization's log has"),
    someone_elses_log_key: (layout.LOG_CHECKPOINT, "not signed by the log's key"),
}


@pytest.mark.proves("evidence.anchored", "evidence.tampering")
@pytest.mark.parametrize("tamper", TAMPERINGS, ids=lambda tamper: tamper.__name__)
def test_whoever_has_the_bundles_key_alone_is_found_out(verify, tamper):
    report = verify(tamper(anchored(a_session())))
    where, why = TAMPERINGS[tamper]
    assert report.verdict == BROKEN
    assert any(p.where.startswith(where) and why in p.detail for p in report.problems), (
        report.problems
    )


def test_a_shortened_chain_names_the_first_record_that_is_missing(verify):
    recorded = anchored(a_session())
    report = verify(shortened_chain(recorded))
    assert report.first_bad.seq == len(recorded.rows)


@pytest.mark.parametrize(
    "raw",
    [
        b"{}", b"[]", b"5", b'{"leaf": null}', b'{"leaf": {}, "index": 0, "proof": []}',
        b'{"leaf":{"kind":"session","subject":5,"seq":1,"hash":"%s"},"index":0,"proof":[]}'
        % (b"0" * 64),
        b'{"leaf":{"kind":"session","subject":"x","seq":true,"hash":"%s"},"index":0,"proof":[]}'
        % (b"0" * 64),
        b'{"leaf":{"kind":"session","subject":"x","seq":1,"hash":"00"},"index":0,"proof":[]}',
        b'{"leaf":{"kind":"session","subject":"x","seq":1,"hash":"%s"},"index":1e9,"proof":{}}'
        % (b"0" * 64),
        b'{"leaf":{"kind":"session","subject":"x","seq":1,"hash":"%s"},"index":1,"proof":[%s]}'
        % (b"0" * 64, b",".join([b'"%s"' % (b"0" * 64)] * 200)),
    ],
)  # fmt: skip
def test_what_is_no_anchor_is_broken(verify, raw):
    report = verify(changed(anchored(a_session()), layout.ANCHOR, lambda _: raw))
    assert report.verdict == BROKEN
    assert layout.ANCHOR in {problem.where for problem in report.problems}


def test_an_anchor_without_its_checkpoint_is_broken(verify):
    report = verify(with_note(anchored(a_session()), b""))
    assert report.first_bad.where == layout.LOG_CHECKPOINT


# --- a checkpoint that the reader kept --------------------------------------------------------


@pytest.mark.proves("evidence.anchored")
def test_the_same_checkpoint_from_elsewhere(verify):
    recorded = anchored(a_session())
    report = verify(recorded.export(KEY), checkpoint=recorded.log.note())
    assert report.verdict == VERIFIED
    assert checked(report)["Log"] == "consistent with the checkpoint of size 8 that you kept"


@pytest.mark.proves("evidence.anchored")
@pytest.mark.parametrize("kept", [1, 4, 5, 7, 9, 12])
def test_an_older_or_newer_checkpoint_needs_a_proof(verify, kept):
    recorded = anchored(a_session())
    exported = recorded.export(KEY)
    log = recorded.log.fill(4)
    alone = verify(exported, checkpoint=log.note(kept))
    assert alone.verdict == UNUSABLE
    old, new = sorted((8, kept))
    assert f"consistency?from={old}&to={new}" in alone.first_bad.detail
    proof = json.dumps(log.consistency(old, new)).encode()
    report = verify(exported, checkpoint=log.note(kept), consistency=proof)
    assert (report.verdict, report.problems) == (VERIFIED, [])


@pytest.mark.proves("evidence.anchored", "evidence.anchor-rollback")
@pytest.mark.parametrize("kept", [5, 8, 9])
def test_a_fork_of_the_log_is_found(verify, kept):
    """The database was rolled back and went on otherwise, with the log's own key."""
    recorded = anchored(a_session())
    other = Log([LOG_KEY]).fill(2).append(recorded).fill(9)
    old, new = sorted((8, kept))
    for log in (other, recorded.log.fill(4)):
        proof = json.dumps(log.consistency(old, new)).encode() if old != new else b"{}"
        files = {"checkpoint": other.note(kept)} | ({"consistency": proof} if old != new else {})
        recorded.log.leaves = recorded.log.leaves[:8]
        report = verify(recorded.export(KEY), **files)
        assert report.verdict == BROKEN
        assert "is not the one of the checkpoint" in report.problems[-1].detail


def test_a_checkpoint_of_another_organization_is_broken(verify):
    recorded = anchored(a_session())
    other = Log([LOG_KEY], organization=uuid(79)).fill(8)
    report = verify(recorded.export(KEY), checkpoint=other.note())
    assert (report.verdict, report.first_bad.where) == (BROKEN, layout.LOG_CHECKPOINT)


def test_a_bundle_without_an_anchor_does_not_agree_with_a_kept_checkpoint(verify):
    report = verify(a_session().export(KEY), key=KEY.kid, checkpoint=Log([LOG_KEY]).fill(3).note())
    assert report.verdict == BROKEN


@pytest.mark.parametrize(
    "files",
    [
        {"checkpoint": b"no"},
        {"checkpoint": b""},
        {"consistency": b"{}"},
        {"checkpoint": Log([LOG_KEY]).fill(3).note(), "consistency": b"no"},
        {"checkpoint": Log([LOG_KEY]).fill(3).note(), "consistency": b"[]"},
        {"checkpoint": Log([LOG_KEY]).fill(3).note(), "consistency": b'{"from":1,"to":2}'},
    ],
)
def test_files_that_cannot_be_read_are_unusable_input(verify, files):
    assert verify(anchored(a_session()).export(KEY), **files).verdict == UNUSABLE


# --- all leaves of the log --------------------------------------------------------------------


def leaves_of(log):
    return b"".join(
        b'{"index":%d,"kind":"session","subject":"%b","seq":%d,"hash":"%b"}\n'
        % (
            index, ids.encode("sess", UUID(bytes=leaf.subject)).encode(), leaf.seq,
            leaf.hash.hex().encode(),
        )
        for index, leaf in enumerate(log.leaves)
    )  # fmt: skip


@pytest.mark.proves("evidence.anchored", "evidence.tampering")
def test_a_chain_cut_behind_an_older_leaf_is_found_by_all_leaves(verify):
    """Whoever has the bundle's key can do this, and one bundle cannot show it."""
    recorded = a_session()
    cut = recorded.copy()
    del cut.rows[-1]
    log = Log([LOG_KEY]).fill(2).append(cut).fill(1).append(recorded)
    cut.log = Log([LOG_KEY], leaves=log.leaves[:4])
    exported = cut.export(KEY)
    assert verify(exported).verdict == VERIFIED
    report = verify(exported, leaves=leaves_of(log))
    assert (report.verdict, report.first_bad.seq) == (BROKEN, len(recorded.rows))
    recorded.log = log
    report = verify(recorded.export(KEY), leaves=leaves_of(log))
    assert (report.verdict, report.missing) == (VERIFIED, [])
    assert checked(report)["Leaves"].startswith("all 5 of the log")


def test_leaves_of_another_log_are_not_the_checkpoints(verify):
    recorded = anchored(a_session())
    other = Log([LOG_KEY]).fill(2).append(recorded).fill(5)
    report = verify(recorded.export(KEY), leaves=leaves_of(other))
    assert (report.verdict, report.first_bad.where) == (BROKEN, "leaves")


def test_leaves_are_held_against_the_kept_checkpoint_too(verify):
    recorded = anchored(a_session())
    exported = recorded.export(KEY)
    log = recorded.log.fill(2)
    proof = json.dumps(log.consistency(8, 10)).encode()
    options = {"checkpoint": log.note(), "consistency": proof}
    assert verify(exported, leaves=leaves_of(log), **options).verdict == VERIFIED
    log.leaves[9] = log.leaves[8]
    report = verify(exported, leaves=leaves_of(log), **options)
    assert "not those of the checkpoint of size 10" in report.first_bad.detail


@pytest.mark.parametrize(
    "change",
    [
        lambda raw: raw[:-1],
        lambda raw: b"".join(raw.splitlines(keepends=True)[:-1]),
        lambda raw: raw.replace(b'"index":3', b'"index":4'),
        lambda raw: raw.replace(b'"kind":"session"', b'"kind":"other"', 1),
        lambda raw: raw.replace(b'"sess_', b'"aud_', 1),
        lambda raw: raw.replace(b'":', b'": ', 1),
        lambda raw: b"x" * 5000,
        lambda raw: b"",
    ],
)
def test_leaves_that_cannot_be_read_or_are_too_few_are_unusable_input(verify, change):
    recorded = anchored(a_session())
    report = verify(recorded.export(KEY), leaves=change(leaves_of(recorded.log)))
    assert report.verdict == UNUSABLE


def test_leaves_need_a_checkpoint(verify):
    report = verify(a_session().export(KEY), key=KEY.kid, leaves=leaves_of(Log([LOG_KEY]).fill(1)))
    assert report.verdict == UNUSABLE


def test_the_command_line_takes_both(tmp_path, trusted, capsys):
    recorded = anchored(a_session())
    bundle, note, proof = (tmp_path / name for name in ("b.tar", "note", "proof"))
    bundle.write_bytes(recorded.export(KEY))
    log = recorded.log.fill(1)
    note.write_bytes(log.note())
    proof.write_text(json.dumps(log.consistency(8, 9)))
    arguments = [str(bundle), f"--key={trusted}", f"--checkpoint={note}", f"--consistency={proof}"]
    assert cli.main(arguments) == 0
    said = capsys.readouterr().out
    assert "consistent with the checkpoint of size 9 that you kept" in said
    assert said.endswith("VERIFIED\n")
