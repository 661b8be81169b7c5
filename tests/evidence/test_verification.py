"""What a signed bundle must agree on with itself, and what an honest one is never blamed for.

Here the server signs whatever its database holds: the tables are tampered with, or the chain is.
"""

import json

import pytest

from keeptrusts_runners import ids
from keeptrusts_runners.evidence import layout
from keeptrusts_runners.evidence.verifier.verification import verify_bundle
from keeptrusts_runners.keys import SigningKey
from tests.evidence.bundles import (
    FILES,
    MACHINE,
    PERSON,
    START_US,
    Recorded,
    a_session,
    anchored,
    uuid,
)

KEY = SigningKey.generate()


@pytest.fixture
def verify(tmp_path):
    def of(recorded: Recorded, **options):
        path = tmp_path / "bundle.tar"
        path.write_bytes(recorded.export(KEY))
        return verify_bundle(path, KEY.kid, **options)

    return of


# ---- honest ----


def just_dispatched():
    recorded = Recorded()
    recorded.become("pending", "dispatch", actor=PERSON, epoch=0)
    return recorded


def cancelled_before_a_claim():
    recorded = just_dispatched()
    recorded.become("cancelled", "cancel", actor=PERSON, epoch=0, reason="not_needed")
    recorded.add("hold.placed", {"by": PERSON}, actor=PERSON, epoch=0)
    return recorded


def lost_and_tried_again():
    recorded = just_dispatched()
    recorded.become("dispatched", "claim")
    recorded.become("running", "heartbeat")
    recorded.add("log", message="und dann: Ünïcödé, \u2028, \x7f, <b>", data={"x": [1.5, None]})
    recorded.become("pending", "lose", actor="system", reason="lease_expired")
    recorded.add("lease.expired", {"epoch": 1}, actor="system")
    recorded.become("dispatched", "claim", epoch=2)
    seq = recorded.become("lost", "lose", actor="system", epoch=2, reason="lease_expired")
    # Records of the step that ended it have its instant.
    recorded.add("lease.expired", {"epoch": 2}, actor="system", at=recorded.rows[seq - 1].at)
    return recorded


def paused_and_resumed():
    recorded = just_dispatched()
    recorded.become("dispatched", "claim")
    recorded.become("dispatched", "pause", actor=PERSON)
    recorded.become("paused", "acknowledge")
    recorded.become("pending", "resume", actor=PERSON)
    return recorded


def redacted():
    recorded = a_session()
    recorded.redact(8, 11)
    recorded.redact(12, 12)
    return recorded


def redacted_whole():
    """What retention leaves: heads and digests, and a tombstone for all of it."""
    recorded = a_session()
    recorded.redact(1, len(recorded.rows))
    return recorded


def redacted_twice_over():
    recorded = a_session()
    recorded.redact(7, 14)
    recorded.redact(10, 20)
    return recorded


def with_large_records():
    recorded = just_dispatched()
    recorded.become("dispatched", "claim")
    for size in (0, 1, 700_000, 3_000_000, 2):
        recorded.add("log", message="x" * size)
    return recorded


def without_a_harness():
    recorded = just_dispatched()
    files, document = recorded.files, recorded.session_document

    def session_document():
        return document() | {"harness_id": None}

    def without(key):
        return [(n, b"null\n" if n == layout.HARNESS else content) for n, content in files(key)]

    recorded.session_document, recorded.files = session_document, without
    return recorded


HONEST = [
    a_session,
    just_dispatched,
    cancelled_before_a_claim,
    lost_and_tried_again,
    paused_and_resumed,
    redacted,
    redacted_whole,
    redacted_twice_over,
    with_large_records,
    without_a_harness,
    lambda: a_session(0),
    lambda: anchored(a_session()),
    lambda: a_session(5000),
]


@pytest.mark.parametrize("make", HONEST, ids=lambda make: make.__name__)
def test_an_honest_session_verifies(verify, make):
    recorded = make()
    report = verify(recorded)
    assert report.problems == []
    assert (report.verdict, report.exit_code) == ("verified", 0)
    assert report.records == len(recorded.rows)
    assert report.head_hash == recorded.rows[-1].hash.hex()
    assert report.key_pinned


def test_the_report_says_what_is_missing(verify):
    recorded = redacted()
    recorded.completeness[0] |= {"declared": 25, "received": 20, "missing": [[21, 25]]}
    recorded.completeness.append({"epoch": 2, "declared": None, "received": 3, "missing": []})
    missing = "\n".join(verify(recorded).missing)
    assert "an anchor" in missing
    assert "the bodies of 5 redacted records" in missing
    assert "epoch 1: events [[21, 25]] of 25 never arrived" in missing
    assert "epoch 2: the number of events was never declared" in missing


# ---- tables that tell another story than the chain ----


def drop_transition(recorded):
    del recorded.transitions[2]
    return layout.TRANSITIONS, 4


def add_transition(recorded):
    recorded.transitions.append(recorded.transitions[-1])
    return layout.TRANSITIONS, None


def edit_transition(member, value):
    def change(recorded):
        recorded.transitions[1][member] = value
        return layout.TRANSITIONS, 2

    return change


def break_transition(recorded):
    recorded.transitions[1] = []
    return layout.TRANSITIONS, 2


def edit_artifact(member, value):
    def change(recorded):
        recorded.artifacts[0][member] = value
        return layout.ARTIFACTS, None

    return change


def drop_artifact(recorded):
    del recorded.artifacts[1]
    return layout.ARTIFACTS, 28


def add_artifact(recorded):
    recorded.artifacts.append(recorded.artifacts[0] | {"id": ids.encode("art", uuid(55))})
    return layout.ARTIFACTS, None


def repeat_artifact(recorded):
    recorded.artifacts.append(recorded.artifacts[0])
    return layout.ARTIFACTS, None


def edit_checkpoint(recorded):
    recorded.checkpoints[0] = {"number": 1, "digest": "sha256:" + "2" * 64}
    return layout.CHECKPOINTS, 29


def drop_checkpoint(recorded):
    recorded.checkpoints.clear()
    return layout.CHECKPOINTS, 29


def edit_grant(recorded):
    recorded.grants[0]["operation"] = "files.*"
    return layout.GRANTS, 5


def drop_grant(recorded):
    recorded.grants.clear()
    return layout.GRANTS, 5


def add_grant(recorded):
    recorded.grants.append({"id": ids.encode("grant", uuid(77)), "operation": "files.write"})
    return layout.GRANTS, None


def say_another_state(recorded):
    recorded.state = "failed"
    return layout.SESSION, None


def make_gaps_unreadable(recorded):
    recorded.completeness.append("none")
    return layout.COMPLETENESS, None


OF_TABLES = {
    "transition dropped": drop_transition,
    "transition added": add_transition,
    "transition broken": break_transition,
    "transition's seq": edit_transition("seq", 3),
    "transition's state": edit_transition("to", "running"),
    "transition's origin": edit_transition("from", "paused"),
    "transition's verb": edit_transition("verb", "resume"),
    "transition's reason": edit_transition("reason", "because"),
    "transition's actor": edit_transition("actor", PERSON),
    "transition's epoch": edit_transition("lease_epoch", 2),
    "artifact's digest": edit_artifact("sha256", "0" * 64),
    "artifact's size": edit_artifact("size_bytes", 1),
    "artifact's name": edit_artifact("name", "other.json"),
    "artifact's id": edit_artifact("id", None),
    "artifact dropped": drop_artifact,
    "artifact added": add_artifact,
    "artifact repeated": repeat_artifact,
    "checkpoint's digest": edit_checkpoint,
    "checkpoint dropped": drop_checkpoint,
    "grant's operation": edit_grant,
    "grant dropped": drop_grant,
    "grant added": add_grant,
    "session's state": say_another_state,
    "gaps": make_gaps_unreadable,
}


@pytest.mark.parametrize("name", OF_TABLES)
def test_a_table_that_disagrees_with_the_chain_is_named(verify, name):
    recorded = a_session()
    where, seq = OF_TABLES[name](recorded)
    report = verify(recorded)
    assert report.exit_code == 1
    assert where in {problem.where for problem in report.problems}
    if seq is not None:
        assert report.first_bad.seq == seq


# ---- a chain that was written anew with the key at hand ----


def delete_row(recorded):
    del recorded.rows[9]
    return 10


def edit_row(recorded):
    recorded.rows[9].body = b"{}"
    return 10


def delete_tail_behind_the_head(recorded):
    head = recorded.predicate()
    recorded.predicate = lambda: head
    del recorded.rows[-3:]
    return len(recorded.rows) + 1


def rows_of_another_organization(recorded):
    recorded.organization = uuid(98)
    return 1


def rows_of_another_session(recorded):
    recorded.session = uuid(99)
    return 1


def delete_a_state_and_rechain(recorded):
    del recorded.rows[1], recorded.transitions[1]
    recorded.rechain()
    for transition in recorded.transitions[1:]:
        transition["seq"] -= 1
    return 3


def begin_elsewhere(recorded):
    recorded.rows.clear()
    recorded.transitions.clear()
    recorded.state = ""
    recorded.become("running", "claim")
    return 1


def lie_in_a_body(recorded):
    recorded.rows.clear()
    recorded.transitions.clear()
    recorded.state = ""
    recorded.become("pending", "dispatch")
    recorded.add("state.paused", {"verb": "pause", "from": "pending", "to": "running"})
    return 2


def an_event_after_the_end(recorded):
    return recorded.add("log", {"n": 1}, message="still here")


def a_grant_used_after_the_end(recorded):
    return recorded.add("grant.used", {"grant_id": recorded.grants[0]["id"]})


def a_state_after_the_end(recorded):
    return recorded.become("running", "resume")


def redact_in_silence(recorded):
    recorded.redact(8, 12, tombstone=False)
    return 8


def redact_more_than_said(recorded):
    recorded.redact(8, 9)
    recorded.redact(10, 10, tombstone=False)
    return 10


def redact_the_tombstone(recorded):
    recorded.redact(8, 9)
    tombstone = len(recorded.rows)
    recorded.redact(tombstone, tombstone)
    return tombstone


def tombstone(data):
    def add(recorded):
        return recorded.add("evidence.redacted", data, actor="system", epoch=0)

    return add


def a_state_without_data(recorded):
    recorded.rows.clear()
    recorded.transitions.clear()
    return recorded.add("state.pending")


OF_CHAINS = {
    "row deleted": delete_row,
    "row edited": edit_row,
    "tail deleted": delete_tail_behind_the_head,
    "another organization": rows_of_another_organization,
    "another session": rows_of_another_session,
    "state deleted": delete_a_state_and_rechain,
    "beginning elsewhere": begin_elsewhere,
    "body against kind": lie_in_a_body,
    "event after the end": an_event_after_the_end,
    "grant used after the end": a_grant_used_after_the_end,
    "state after the end": a_state_after_the_end,
    "redacted in silence": redact_in_silence,
    "redacted more than said": redact_more_than_said,
    "tombstone redacted": redact_the_tombstone,
    "tombstone of itself": tombstone({"ranges": [[1, 34]]}),
    "tombstone of nothing": tombstone({"ranges": []}),
    "tombstone of a text": tombstone({"ranges": "all"}),
    "tombstone of a wrong pair": tombstone({"ranges": [[5, 3]]}),
    "tombstone of truths": tombstone({"ranges": [[True, 3]]}),
    "state without data": a_state_without_data,
}


@pytest.mark.parametrize("name", OF_CHAINS)
def test_a_chain_that_cannot_have_been_is_named(verify, name):
    recorded = a_session()
    seq = OF_CHAINS[name](recorded)
    report = verify(recorded)
    assert report.exit_code == 1
    assert report.first_bad.seq == seq


@pytest.mark.parametrize("change", [edit_artifact("name", "x"), add_artifact, drop_checkpoint])
def test_redaction_hides_no_more_than_it_takes(verify, change):
    """What is still told is still compared; what nobody tells any more is not."""
    recorded = a_session()
    change(recorded)
    assert verify(recorded).exit_code == 1
    recorded.redact(1, len(recorded.rows))
    assert verify(recorded).exit_code == 0


# ---- artifacts at hand ----


@pytest.fixture
def directory(tmp_path):
    made = tmp_path / "artifacts"
    made.mkdir()
    return made


def test_artifacts_are_found_by_name_id_or_digest(verify, directory):
    recorded = a_session()
    one, two = recorded.artifacts
    for first, second in ((one["name"], two["name"]), (one["id"], two["sha256"])):
        (directory / first).write_bytes(FILES[one["name"]])
        (directory / second).write_bytes(FILES[two["name"]])
        report = verify(recorded, artifacts=directory)
        assert report.exit_code == 0
        assert dict(report.checked)["Files"].startswith("2 of 2")
        (directory / first).unlink()
        (directory / second).unlink()


def test_an_artifact_with_other_content_is_named(verify, directory):
    (directory / "report.json").write_bytes(b"{}")
    report = verify(a_session(), artifacts=directory)
    assert report.exit_code == 1
    assert report.first_bad.where == "artifact report.json"
    assert "artifact bundle.tar.gz: no file for it" in "\n".join(report.missing)


@pytest.mark.parametrize("name", ["../secret", "/etc/hostname", "..", ".", "", "a\0b", "link", 7])
def test_an_artifacts_name_is_never_a_path(verify, directory, name):
    (directory.parent / "secret").write_bytes(b"x")
    (directory / "link").symlink_to(directory.parent / "secret")
    recorded = just_dispatched()
    recorded.become("dispatched", "claim")
    artifact = {"name": name, "size_bytes": 1, "sha256": "0" * 64}
    recorded.add("artifact.stored", {"artifact_id": "art_1", **artifact})
    recorded.artifacts.append({"id": "art_1", **artifact})
    report = verify(recorded, artifacts=directory)
    assert report.exit_code == 0
    assert "no file for it" in "\n".join(report.missing)


def test_artifacts_are_found_as_the_list_names_them(verify, directory):
    recorded = a_session()
    one, two = recorded.artifacts
    for number, artifact in enumerate((one, two)):
        artifact["name"] = f"{number}/same.txt"
    (directory / "same.txt").write_bytes(FILES["report.json"])
    (directory / f"same.{two['id']}.txt").write_bytes(FILES["bundle.tar.gz"])
    report = verify(recorded, artifacts=directory)
    assert dict(report.checked)["Files"].startswith("2 of 2")


def test_a_directory_that_is_none_is_unusable(verify, directory):
    assert verify(a_session(), artifacts=directory / "nowhere").exit_code == 2


# ---- the report ----


def test_the_report_as_json_has_the_fields_of_a_verification(verify):
    recorded = a_session()
    edit_row(recorded)
    document = json.loads(json.dumps(verify(recorded).as_dict()))
    assert document["verdict"] == "broken"
    assert document["first_bad_seq"] == 10
    assert document["reason"].startswith("record 10: its body is not the one")
    assert document["records"] == 9
    assert document["head_hash"] == recorded.rows[8].hash.hex()
    assert document["session_id"] == ids.encode("sess", recorded.session)


def test_the_instant_of_the_end_lets_no_other_state_in(verify):
    recorded = a_session()
    at = next(row.at for row in recorded.rows if row.kind == "state.completed")
    seq = recorded.become("failed", "fail", at=at)
    assert at > START_US
    assert verify(recorded).first_bad.seq == seq


def test_a_word_that_json_would_escape_is_not_exported(verify):
    recorded = just_dispatched()
    recorded.add('x."', actor=MACHINE)
    with pytest.raises(ValueError, match="cannot be a kind"):
        verify(recorded)
