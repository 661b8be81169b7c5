"""The routes of the organization's log, and bundles of real sessions that are anchored in it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from keeptrusts_runners import ids
from keeptrusts_runners.evidence import layout, merkle, signer
from keeptrusts_runners.evidence.checkpoint import read_checkpoint
from keeptrusts_runners.evidence.leaves import Leaf
from keeptrusts_runners.evidence.verifier.ed25519 import verify_signature
from keeptrusts_runners.evidence.verifier.verification import verify_bundle
from keeptrusts_runners.jwk import public_key
from tests.contract.calls import problem
from tests.evidence import logs
from tests.evidence.bundles import Bundle
from tests.factories import path
from tests.people import Api, Org

ROUTES = (
    "/runners/evidence/checkpoints",
    "/runners/evidence/checkpoints/1",
    "/runners/evidence/consistency?from=1&to=2",
    "/runners/evidence/leaves",
)


@pytest.fixture
def org() -> Org:
    return Org()


def get(org: Org, address: str, **headers: str) -> Any:
    answer = org.auditor.api.get(address, **headers)
    assert answer.status_code == 200, answer.content
    return answer.json()


def log_keys() -> list[dict[str, Any]]:
    keys = Api().get("/runners/evidence/keys").json()["keys"]
    return [key for key in keys if key["purpose"] == "checkpoints"]


# --- who may -----------------------------------------------------------------------------------


@pytest.mark.parametrize("route", ROUTES)
def test_auditors_may_and_nobody_without_the_scope(org: Org, route: str) -> None:
    logs.an_anchored_log(org, 2)
    get(org, route)
    for other in (org.viewer, org.operator, org.runner):
        assert problem(other.api.get(route), 403, "missing_scope")["scope"] == "runners:audit"


def test_an_outsider_sees_a_log_of_its_own(org: Org) -> None:
    logs.an_anchored_log(org, 2)
    session = logs.pending_session(org)
    signer.anchor(org.id)
    other = Org()
    assert get(other, "/runners/evidence/checkpoints")["items"] == []
    assert get(other, "/runners/evidence/leaves")["items"] == []
    problem(other.auditor.api.get("/runners/evidence/checkpoints/1"), 404, "not_found")
    refused = other.auditor.api.get("/runners/evidence/consistency?from=1&to=2")
    problem(refused, 400, "invalid_parameter")
    problem(other.auditor.api.get(path(session, "evidence/inclusion")), 404, "not_found")


# --- checkpoints -------------------------------------------------------------------------------


def test_checkpoints_are_listed_newest_first_and_each_is_a_signed_note(org: Org) -> None:
    logs.an_anchored_log(org, 3)
    items = get(org, "/runners/evidence/checkpoints")["items"]
    assert [item["size"] for item in items] == [3, 2, 1]
    keys = [public_key(key) for key in log_keys()]
    for item in items:
        signed = read_checkpoint(item["note"].encode())
        assert (signed.head.size, signed.head.root.hex()) == (item["size"], item["root"])
        assert signed.head.origin == f"keeptrusts.runners/{ids.encode('org', org.id)}"
        assert any(signed.signed_by(key, verify_signature) for key in keys)


def test_one_checkpoint_as_json_and_as_a_note(org: Org) -> None:
    logs.an_anchored_log(org, 2)
    one = get(org, "/runners/evidence/checkpoints/1")
    note = org.auditor.api.get("/runners/evidence/checkpoints/1", Accept="text/plain")
    assert note["Content-Type"] == "text/plain; charset=utf-8"
    assert note.content.decode() == one["note"]
    tag = note["ETag"]
    assert tag != org.auditor.api.get("/runners/evidence/checkpoints/1")["ETag"]
    again = org.auditor.api.get(
        "/runners/evidence/checkpoints/1", Accept="text/plain", If_None_Match=tag
    )
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize("size", ["0", "3", "9" * 30, "-1", "x"])
def test_a_size_without_a_checkpoint_is_not_found(org: Org, size: str) -> None:
    logs.an_anchored_log(org, 2)
    problem(org.auditor.api.get(f"/runners/evidence/checkpoints/{size}"), 404, "not_found")


def test_what_is_not_in_the_file_yet_is_not_shown(org: Org, monkeypatch: Any) -> None:
    logs.an_anchored_log(org, 2)
    session = logs.pending_session(org)
    monkeypatch.setattr(signer, "_publish", lambda organization_id: 0)
    signer.anchor(org.id)
    log = logs.log_of(org)
    assert log is not None
    assert log.size == 3
    assert get(org, "/runners/evidence/checkpoints")["items"][0]["size"] == 2
    assert len(get(org, "/runners/evidence/leaves")["items"]) == 2
    problem(org.auditor.api.get("/runners/evidence/checkpoints/3"), 404, "not_found")
    problem(org.auditor.api.get(path(session, "evidence/inclusion")), 409, "not_anchored")


# --- proofs ------------------------------------------------------------------------------------


@pytest.mark.proves("evidence.anchor-proofs")
def test_every_two_checkpoints_are_proved_consistent(org: Org) -> None:
    logs.an_anchored_log(org, 6)
    items = get(org, "/runners/evidence/checkpoints")["items"]
    roots = {item["size"]: bytes.fromhex(item["root"]) for item in items}
    for old in roots:
        for new in range(old, 7):
            found = get(org, f"/runners/evidence/consistency?from={old}&to={new}")
            assert (found["from"], found["to"]) == (old, new)
            proof = [bytes.fromhex(value) for value in found["proof"]]
            assert merkle.is_consistent(old, roots[old], new, roots[new], proof)


@pytest.mark.parametrize(
    "query",
    ["", "?from=1", "?to=1", "?from=0&to=1", "?from=2&to=1", "?from=1&to=3", "?from=x&to=1",
     "?from=1&to=99999999999999999999", "?from=1&to=2&more=1", "?from=-1&to=1",
     "?from=%C2%B2&to=2"],
)  # fmt: skip
def test_sizes_that_cannot_be_are_refused(org: Org, query: str) -> None:
    logs.an_anchored_log(org, 2)
    answer = org.auditor.api.get(f"/runners/evidence/consistency{query}")
    assert answer.status_code == 400


@pytest.mark.proves("evidence.anchor-proofs")
def test_a_session_is_proved_to_be_in_the_log(org: Org) -> None:
    session = logs.running_session(org)
    address = path(session, "evidence/inclusion")
    refused = org.auditor.api.get(address)
    problem(refused, 409, "not_anchored")
    assert refused["Retry-After"]
    signer.anchor(org.id)
    logs.an_anchored_log(org, 3)
    found = get(org, address)
    leaf, checkpoint = found["leaf"], found["checkpoint"]
    assert leaf["subject"] == ids.encode("sess", session.id)
    raw = Leaf(
        org.id.bytes, "session", session.id.bytes, leaf["seq"], bytes.fromhex(leaf["hash"])
    ).entry()
    proof = [bytes.fromhex(value) for value in found["proof"]]
    root = bytes.fromhex(checkpoint["root"])
    size = checkpoint["size"]
    assert merkle.is_included(merkle.leaf_hash(raw), leaf["index"], size, proof, root)
    assert found["pending"] is None


def test_what_came_after_the_anchor_is_pending(org: Org) -> None:
    session = logs.running_session(org)
    signer.anchor(org.id)
    before = get(org, path(session, "evidence/inclusion"))["leaf"]["seq"]
    lines = {"events": [{"kind": "log"}, {"kind": "log"}]}
    assert org.runner.api.post(path(session, "events"), lines).status_code == 200
    found = get(org, path(session, "evidence/inclusion"))
    assert found["pending"] == {"first_seq": before + 1, "last_seq": before + 2}


@pytest.mark.proves("evidence.anchored")
def test_who_has_all_leaves_computes_every_root(org: Org) -> None:
    logs.an_anchored_log(org, 5)
    hashes = []
    for item in get(org, "/runners/evidence/leaves")["items"]:
        prefix, subject = item["subject"].split("_")
        raw = ids.decode(prefix, f"{prefix}_{subject}").bytes
        leaf = Leaf(org.id.bytes, item["kind"], raw, item["seq"], bytes.fromhex(item["hash"]))
        hashes.append(merkle.leaf_hash(leaf.entry()))
    for item in get(org, "/runners/evidence/checkpoints")["items"]:
        assert merkle.root_of_leaves(hashes[: item["size"]]).hex() == item["root"]


@pytest.mark.proves("evidence.anchored")
def test_who_has_all_leaves_finds_a_session_that_was_cut_short(org: Org, exports: Exports) -> None:
    """An old bundle, with the leaf and the checkpoint that it had then, is whole in itself."""
    session = logs.running_session(org)
    signer.anchor(org.id)
    old = exports.export(session).rename(exports.place / "old.tar")
    keys = exports.keys()
    assert org.runner.api.post(path(session, "events"), {"kind": "log"}).status_code == 201
    signer.anchor(org.id)
    answer = org.auditor.api.get("/runners/evidence/leaves", Accept="application/x-ndjson")
    assert answer["Content-Type"] == "application/x-ndjson"
    leaves = exports.place / "leaves"
    leaves.write_bytes(answer.getvalue())
    assert verify_bundle(old, keys).verdict == "verified"
    report = verify_bundle(old, keys, leaves=leaves)
    assert report.verdict == "broken"
    assert report.first_bad is not None
    assert report.first_bad.seq == report.records + 1
    report = verify_bundle(exports.export(session), keys, leaves=leaves)
    assert report.verdict == "verified"
    number = len(leaves.read_bytes().splitlines())
    assert dict(report.checked)["Leaves"].startswith(f"all {number} of the log")


def test_an_outsider_gets_no_leaf_of_another(org: Org) -> None:
    logs.an_anchored_log(org, 2)
    address = "/runners/evidence/leaves"
    answer = Org().auditor.api.get(address, Accept="application/x-ndjson")
    assert answer.getvalue() == b""
    problem(org.viewer.api.get(address, Accept="application/x-ndjson"), 403, "missing_scope")


def test_keys_say_their_purpose_and_since_when(org: Org) -> None:
    logs.an_anchored_log(org, 1)
    keys = Api().get("/runners/evidence/keys").json()["keys"]
    assert {key["purpose"] for key in keys} == {"bundles", "checkpoints"}
    lasting = [key for key in log_keys() if key["until"] is None]
    assert len(lasting) == 1
    assert lasting[0]["since"].endswith("Z")
    assert all("d" not in key for key in keys)


# --- bundles of real sessions ------------------------------------------------------------------


class Exports:
    """What an auditor downloads, and what the verifier says of it."""

    def __init__(self, org: Org, place: Path) -> None:
        self.org, self.place = org, place

    def keys(self) -> str:
        file = self.place / "keys.json"
        file.write_bytes(Api().get("/runners/evidence/keys").content)
        return str(file)

    def export(self, session: Any) -> Path:
        answer = self.org.auditor.api.get(path(session, "evidence"))
        file = self.place / "bundle.tar"
        file.write_bytes(answer.getvalue())
        return file

    def text(self, name: str, address: str) -> Path:
        file = self.place / name
        file.write_bytes(self.org.auditor.api.get(address, Accept="text/plain, */*;q=0.1").content)
        return file


@pytest.fixture
def exports(org: Org, tmp_path: Path) -> Exports:
    return Exports(org, tmp_path)


@pytest.mark.proves("evidence.anchored")
def test_a_real_session_is_anchored_and_agrees_with_an_older_checkpoint(
    org: Org, exports: Exports
) -> None:
    logs.an_anchored_log(org, 3)
    kept = exports.text("kept", "/runners/evidence/checkpoints/2")
    session = logs.running_session(org)
    signer.anchor(org.id)
    bundle = exports.export(session)
    size = get(org, "/runners/evidence/checkpoints")["items"][0]["size"]
    proof = exports.text("proof", f"/runners/evidence/consistency?from=2&to={size}")
    report = verify_bundle(bundle, exports.keys(), None, kept, proof)
    assert (report.verdict, report.problems) == ("verified", [])
    assert report.log_key_pinned
    assert (report.anchored_seq, report.log_size) == (report.records, size)
    assert not any("anchor" in what for what in report.missing)


def test_a_bundle_before_the_signer_came_says_that_it_has_no_anchor(
    org: Org, exports: Exports
) -> None:
    session = logs.pending_session(org)
    report = verify_bundle(exports.export(session), exports.keys())
    assert report.verdict == "verified"
    assert any("an anchor" in what for what in report.missing)


@pytest.mark.proves("evidence.anchored", "evidence.anchor-rollback")
def test_a_rolled_back_database_that_goes_on_does_not_agree_with_what_was_kept(
    org: Org, exports: Exports
) -> None:
    logs.an_anchored_log(org, 2)
    saved = logs.backup(org)
    logs.an_anchored_log(org, 2)
    kept = exports.text("kept", "/runners/evidence/checkpoints/4")
    logs.restore(org.id, saved)
    signer.accept_rollback(org.id)
    logs.an_anchored_log(org, 2)
    session = logs.pending_session(org)
    signer.anchor(org.id)
    size = get(org, "/runners/evidence/checkpoints")["items"][0]["size"]
    proof = exports.text("proof", f"/runners/evidence/consistency?from=4&to={size}")
    report = verify_bundle(exports.export(session), exports.keys(), None, kept, proof)
    assert report.verdict == "broken"
    assert "is not the one of the checkpoint of size 4" in report.problems[-1].detail


@pytest.mark.proves("fence.stale-on-record")
def test_refused_stale_writes_are_in_the_bundle(org: Org, exports: Exports) -> None:
    session = logs.running_session(org)
    body = {"reason": "r", "force": True}
    assert org.operator.api.post(path(session, "cancel"), body).status_code == 200
    stale = org.runner.api.post(path(session, "events"), {"kind": "log"})
    problem(stale, 409, "lease_lost")
    signer.anchor(org.id)
    bundle = exports.export(session)
    (listed,) = json.loads(Bundle.open(bundle.read_bytes())[layout.REFUSALS])
    assert (listed["operation"], listed["code"]) == ("events", "lease_lost")
    assert listed["actor"] == org.runner.principal.actor
    assert dict(verify_bundle(bundle, exports.keys()).checked)["Refusals"].startswith("1 ")


def test_the_proof_of_a_kept_checkpoint_can_be_read_as_it_was_answered(
    org: Org, exports: Exports
) -> None:
    logs.an_anchored_log(org, 2)
    answered = exports.text("proof", "/runners/evidence/consistency?from=1&to=2").read_text()
    assert set(json.loads(answered)) == {"from", "to", "proof"}
