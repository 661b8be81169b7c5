"""Every change of an exported bundle is found, and the first broken record is named.

Whoever changes it here has the file and not the key; the reader trusts the right key.
"""

import json
import random

import pytest

from keeptrusts_runners.evidence import chain, dsse, layout
from keeptrusts_runners.evidence.verifier.verification import verify_bundle
from keeptrusts_runners.keys import SigningKey
from tests.evidence.bundles import MACHINE, Bundle, a_session, anchored, line, uuid

KEY, FORGER = SigningKey.generate(), SigningKey.generate()
RECORDED = anchored(a_session())
EXPORTED = RECORDED.export(KEY)
LAST = len(RECORDED.rows)
MIDDLE = LAST // 2
POSITIONS = [1, 2, 7, MIDDLE, LAST - 1, LAST]


@pytest.fixture
def verify(tmp_path):
    def of(archive: bytes, key: str | None = KEY.kid):
        path = tmp_path / "bundle.tar"
        path.write_bytes(archive)
        return verify_bundle(path, key)

    return of


def exported() -> Bundle:
    return Bundle.open(EXPORTED)


def in_rows(change):
    """A tampering that rewrites records from the database's rows, changed in a copy."""

    def tamper(n):
        recorded = RECORDED.copy()
        change(recorded, n)
        lines = [line(seq, row) for seq, row in enumerate(recorded.rows, start=1)]
        return exported().with_lines(lines)

    return tamper


def in_lines(change):
    """A tampering that changes the list of lines; `n` is a record's number."""

    def tamper(n):
        lines = exported().lines()
        change(lines, n)
        return exported().with_lines(lines)

    return tamper


def edit_body(recorded, n):
    recorded.rows[n - 1].body = recorded.rows[n - 1].body.replace(b"info", b"inFo")


def edit_body_and_digest(recorded, n):
    edit_body(recorded, n)
    row = recorded.rows[n - 1]
    row.body_digest = chain.body_digest(row.salt, row.body)


def edit_record_with_its_hash(recorded, n):
    edit_body_and_digest(recorded, n)
    after = recorded.rows[n:]
    del recorded.rows[n:]
    recorded.rechain(n - 1)
    recorded.rows += after


def edit_and_rechain(recorded, n):
    edit_body_and_digest(recorded, n)
    recorded.rechain(n - 1)


def set_field(name, value):
    def change(recorded, n):
        setattr(recorded.rows[n - 1], name, value(getattr(recorded.rows[n - 1], name)))

    return in_rows(change)


def flipped(value: bytes) -> bytes:
    return bytes([value[0] ^ 1]) + value[1:]


def take_away_body(recorded, n):
    recorded.rows[n - 1].body = recorded.rows[n - 1].salt = None


def take_away_salt(recorded, n):
    recorded.rows[n - 1].salt = None


def drop(lines, n):
    del lines[n - 1]


def drop_and_renumber(lines, n):
    del lines[n - 1]
    for index in range(n - 1, len(lines)):
        lines[index] = lines[index].replace(b'"seq":%d,' % (index + 2), b'"seq":%d,' % (index + 1))


def swap_with_next(lines, n):
    lines[n - 1 : n + 1] = reversed(lines[n - 1 : n + 1])


def repeat(lines, n):
    lines.insert(n, lines[n - 1])


def insert_own(lines, n):
    recorded = RECORDED.copy()
    del recorded.rows[n - 1 :]
    recorded.add("note", {"text": "inserted"})
    lines.insert(n - 1, line(n, recorded.rows[-1]))


def from_another_session(lines, n):
    other = a_session()
    other.session = uuid(99)
    other.rechain()
    lines[n - 1] = line(n, other.rows[n - 1])


def cut_tail(lines, n):
    del lines[n - 1 :]


def cut_line(lines, n):
    lines[n - 1] = lines[n - 1][:-20] + b"\n"


def join_lines(lines, n):
    lines[n - 1] = lines[n - 1].rstrip(b"\n")


def other_spelling(lines, n):
    lines[n - 1] = json.dumps(json.loads(lines[n - 1])).encode() + b"\n"


def key_twice(lines, n):
    lines[n - 1] = lines[n - 1].replace(b'"actor":', b'"actor":"user_x","actor":')


def blank_line(lines, n):
    lines.insert(n - 1, b"\n")


def same(n):
    return n


def next_or_last(n):
    """Where a change shows that was covered up in its own record: in the next one's hash."""
    return min(n + 1, LAST)


def end(n):
    return LAST


# name: (tampering of record n, where the first broken record is)
OF_RECORDS = {
    "body edited": (in_rows(edit_body), same),
    "body and digest edited": (in_rows(edit_body_and_digest), same),
    "record edited with its hash": (in_rows(edit_record_with_its_hash), next_or_last),
    "record edited and all chained again": (in_rows(edit_and_rechain), end),
    "time edited": (set_field("at", lambda at: at + 1), same),
    "kind edited": (set_field("kind", lambda kind: kind + "x"), same),
    "actor edited": (set_field("actor", lambda actor: MACHINE + "x"), same),
    "epoch edited": (set_field("epoch", lambda epoch: epoch + 1), same),
    "salt edited": (set_field("salt", flipped), same),
    "digest edited": (set_field("body_digest", flipped), same),
    "hash edited": (set_field("hash", flipped), same),
    "redacted without tombstone": (in_rows(take_away_body), same),
    "salt taken away": (in_rows(take_away_salt), same),
    "dropped": (in_lines(drop), same),
    "dropped and renumbered": (in_lines(drop_and_renumber), same),
    "swapped": (in_lines(swap_with_next), same),
    "repeated": (in_lines(repeat), lambda n: n + 1),
    "inserted": (in_lines(insert_own), lambda n: n + 1),
    "from another session": (in_lines(from_another_session), same),
    "tail cut": (in_lines(cut_tail), same),
    "line cut": (in_lines(cut_line), same),
    "lines joined": (in_lines(join_lines), same),
    "another spelling": (in_lines(other_spelling), same),
    "key twice": (in_lines(key_twice), same),
    "blank line": (in_lines(blank_line), same),
}


@pytest.mark.proves("evidence.tampering")
@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.parametrize("name", OF_RECORDS)
def test_a_changed_record_is_named(verify, name, position):
    if position == LAST and name in ("swapped", "lines joined"):
        position = LAST - 1
    tamper, expected = OF_RECORDS[name]
    report = verify(tamper(position).pack())
    assert (report.verdict, report.exit_code) == ("broken", 1)
    assert report.first_bad.seq == expected(position)
    assert any(problem.where == layout.EVENTS for problem in report.problems)


def test_a_record_chained_to_the_end_comes_after_the_signed_head(verify):
    recorded = RECORDED.copy()
    recorded.add("note", {"text": "one more"})
    tampered = exported().with_lines([*exported().lines(), line(LAST + 1, recorded.rows[-1])])
    assert verify(tampered.pack()).first_bad.seq == LAST + 1


def test_a_whole_other_ledger_breaks_at_its_first_record(verify):
    other = a_session()
    other.organization = uuid(98)
    other.rechain()
    lines = [line(seq, row) for seq, row in enumerate(other.rows, start=1)]
    assert verify(exported().with_lines(lines).pack()).first_bad.seq == 1


def edit_json(name, change):
    document = json.loads(exported()[name])
    change(document)
    return exported().replace(name, json.dumps(document).encode())


def first_set(member, value):
    return lambda entries: entries[0].update({member: value})


def edit_statement(change, key):
    bundle = exported()
    document = bundle.statement()
    change(document)
    return bundle.resign(key, document)


def edit_envelope(**changes):
    envelope = dsse.decode_envelope(exported()[layout.STATEMENT])
    [signature] = envelope.signatures
    fields = {"keyid": signature.keyid, "sig": signature.sig} | changes
    changed = dsse.Envelope(envelope.payload_type, envelope.payload, (dsse.Signature(**fields),))
    return exported().replace(layout.STATEMENT, changed.encode())


def chained_again_and_listed(key):
    bundle = OF_RECORDS["record edited and all chained again"][0](MIDDLE)
    document = bundle.statement()
    document["predicate"]["head"]["hash"] = json.loads(bundle.lines()[-1])["hash"]
    if key is FORGER:
        keys = json.dumps({"keys": [FORGER.public_jwk()]}).encode()
        bundle = bundle.replace(layout.KEYS, keys)
    return bundle.resign(key, document)


def unsigned():
    envelope = dsse.decode_envelope(exported()[layout.STATEMENT])
    bare = dsse.Envelope(envelope.payload_type, envelope.payload, ())
    return exported().replace(layout.STATEMENT, bare.encode())


# name: (the tampered bundle, the file that is named)
OF_FILES = {
    "artifact digest": (
        lambda: edit_json(layout.ARTIFACTS, first_set("sha256", "0" * 64)),
        layout.ARTIFACTS,
    ),
    "artifact added": (
        lambda: edit_json(layout.ARTIFACTS, lambda all_: all_.append({"id": "art_x"})),
        layout.ARTIFACTS,
    ),
    "artifact removed": (
        lambda: edit_json(layout.ARTIFACTS, lambda all_: all_.pop()),
        layout.ARTIFACTS,
    ),
    "grant operation": (
        lambda: edit_json(layout.GRANTS, first_set("operation", "files.write")),
        layout.GRANTS,
    ),
    "checkpoint digest": (
        lambda: edit_json(layout.CHECKPOINTS, first_set("digest", "sha256:0")),
        layout.CHECKPOINTS,
    ),
    "gaps hidden": (
        lambda: edit_json(layout.COMPLETENESS, first_set("declared", 1)),
        layout.COMPLETENESS,
    ),
    "harness image": (
        lambda: edit_json(layout.HARNESS, lambda h: h.update(image_digest="sha256:1")),
        layout.HARNESS,
    ),
    "session's state": (
        lambda: edit_json(layout.SESSION, lambda s: s.update(state="failed")),
        layout.SESSION,
    ),
    "session's id": (
        lambda: edit_json(layout.SESSION, lambda s: s.update(id="sess_" + "0" * 26)),
        layout.SESSION,
    ),
    "transition dropped": (
        lambda: exported().replace(
            layout.TRANSITIONS, exported()[layout.TRANSITIONS].split(b"\n", 1)[1]
        ),
        layout.TRANSITIONS,
    ),
    "read me": (lambda: exported().replace(layout.README, b"Trust this.\n"), layout.README),
    "keys": (
        lambda: edit_json(layout.KEYS, lambda keys: keys["keys"].append(FORGER.public_jwk())),
        layout.KEYS,
    ),
    "no keys": (lambda: exported().replace(layout.KEYS, b'{"keys": []}'), layout.KEYS),
    "signature": (lambda: edit_envelope(sig=flipped(bytes(64))), layout.STATEMENT),
    "signature cut": (lambda: edit_envelope(sig=b""), layout.STATEMENT),
    "key id": (lambda: edit_envelope(keyid=FORGER.kid), layout.STATEMENT),
    "no signature": (unsigned, layout.STATEMENT),
    "signed by another": (lambda: exported().resign(FORGER), layout.STATEMENT),
    "statement of another session": (
        lambda: edit_statement(
            lambda s: s["predicate"].update(session_id="sess_" + "0" * 26), None
        ),
        layout.STATEMENT,
    ),
    "statement of another organization": (
        lambda: edit_statement(
            lambda s: s["predicate"].update(organization_id="org_" + "0" * 26), None
        ),
        layout.STATEMENT,
    ),
    "file unlisted": (
        lambda: edit_statement(lambda s: s["subject"].pop(), None),
        layout.STATEMENT,
    ),
    "chained again, statement edited": (
        lambda: chained_again_and_listed(None),
        layout.STATEMENT,
    ),
    "chained again, signed by another, keys replaced": (
        lambda: chained_again_and_listed(FORGER),
        layout.STATEMENT,
    ),
}


@pytest.mark.proves("evidence.tampering")
@pytest.mark.parametrize("name", OF_FILES)
def test_a_changed_file_is_named(verify, name):
    tamper, where = OF_FILES[name]
    report = verify(tamper().pack())
    assert (report.verdict, report.exit_code) == ("broken", 1)
    assert where in {problem.where for problem in report.problems}


@pytest.mark.parametrize("name", layout.MEMBERS)
def test_a_missing_or_empty_file_is_named(verify, name):
    for tampered in (exported().without(name), exported().replace(name, b"")):
        report = verify(tampered.pack())
        assert report.exit_code == 1
        assert name in {problem.where for problem in report.problems}


def test_a_file_that_replaces_another_bundles_is_named(verify):
    other = Bundle.open(a_session(3).export(KEY))
    for name, content in other.members:
        if name != layout.STATEMENT and content != exported()[name]:
            report = verify(exported().replace(name, content).pack())
            assert name in {problem.where for problem in report.problems}


def test_a_forger_with_another_key_is_believed_only_by_who_trusts_no_key(verify):
    forged = chained_again_and_listed(FORGER)
    assert verify(forged.pack()).exit_code == 1
    # The log has the record that was there, and the forger cannot sign another checkpoint.
    assert verify(forged.pack(), key=None).exit_code == 1
    unanchored = forged.replace(layout.ANCHOR, b"null").replace(layout.LOG_CHECKPOINT, b"")
    report = verify(unanchored.resign(FORGER).pack(), key=None)
    assert report.verdict == "verified"
    assert any("an anchor" in what for what in report.missing)
    assert not report.key_pinned
    assert any("a key that you trust" in what for what in report.missing)
    assert FORGER.kid in dict(report.checked)["Signature"]


def _records_by_byte(archive: bytes) -> dict[range, int]:
    """For each record the place of its line in the archive."""
    places, position = {}, archive.index(exported().lines()[0])
    for seq, text in enumerate(exported().lines(), start=1):
        places[range(position, position + len(text))] = seq
        position += len(text)
    return places


@pytest.mark.proves("evidence.tampering")
def test_a_flipped_bit_anywhere_is_found_and_in_a_record_it_is_named(verify):
    generator = random.Random(20260101)
    records = _records_by_byte(EXPORTED)
    in_padding_of_statement = len(EXPORTED) - len(layout.END)
    positions = [*range(0, len(EXPORTED), 41), in_padding_of_statement - 1, len(EXPORTED) - 1]
    for position in positions:
        tampered = bytearray(EXPORTED)
        tampered[position] ^= 1 << generator.randrange(8)
        report = verify(bytes(tampered))
        assert report.verdict == "broken", position
        for place, seq in records.items():
            if position in place:
                # Without its end a line takes the next one with it.
                assert report.first_bad.seq in (seq, seq + (position == place.stop - 1)), position


@pytest.mark.proves("evidence.tampering")
def test_a_bundle_cut_anywhere_is_broken(verify):
    for length in range(600, len(EXPORTED), 509):
        assert verify(EXPORTED[:length]).exit_code == 1, length
    assert verify(EXPORTED + b"\0").exit_code == 1
    assert verify(EXPORTED + EXPORTED).exit_code == 1
