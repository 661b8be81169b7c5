"""docs/evidence-format.md: its vectors hold for the code, and it says what the code does."""

import json
import re
from pathlib import Path
from uuid import UUID

import pytest

from keeptrusts_runners import jwk
from keeptrusts_runners.evidence import (
    chain,
    checkpoint,
    dsse,
    layout,
    leaves,
    merkle,
    records,
    statement,
)
from keeptrusts_runners.evidence.verifier import report, signed
from keeptrusts_runners.evidence.verifier.ed25519 import verify_signature
from keeptrusts_runners.evidence.verifier.records import read_record
from tests.evidence import vectors

PAGE = (Path(__file__).parents[2] / "docs" / "evidence-format.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```json\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
VECTORS = json.loads(BLOCKS[0])
ORGANIZATION = UUID(VECTORS["organization"]).bytes
SESSION = UUID(VECTORS["session"]).bytes


def test_the_vectors_are_the_generators():
    assert vectors.document() == VECTORS


def header(vector):
    digest = bytes.fromhex(vector["body_digest"])
    return vector["at"], vector["kind"], vector["actor"], vector["epoch"], digest


@pytest.mark.proves("evidence.format")
def test_the_code_gives_the_vectors_hashes():
    headers = [header(vector) for vector in VECTORS["records"]]
    hashes = chain.extend(ORGANIZATION, SESSION, 0, chain.GENESIS, headers)
    assert [value.hex() for value in hashes] == [v["hash"] for v in VECTORS["records"]]
    for vector in VECTORS["records"]:
        digest = chain.body_digest(bytes.fromhex(vector["salt"]), vector["body"].encode())
        assert digest.hex() == vector["body_digest"]


def test_the_code_gives_the_vectors_envelope():
    vector = VECTORS["envelope"]
    public = bytes.fromhex(vector["public_key"])
    assert jwk.thumbprint(public) == vector["thumbprint"]
    message = dsse.pae(dsse.IN_TOTO, vector["payload"].encode())
    assert message == vector["signed_message"].encode()
    assert verify_signature(public, message, bytes.fromhex(vector["signature"]))


@pytest.mark.proves("evidence.format")
def test_the_code_gives_the_vectors_log():
    log = VECTORS["log"]
    found = []
    for vector, record in zip(log["leaves"], VECTORS["records"], strict=True):
        hashed = bytes.fromhex(record["hash"])
        leaf = leaves.Leaf(ORGANIZATION, leaves.SESSION_LEAF, SESSION, record["seq"], hashed)
        assert leaf.entry().hex() == vector["entry"]
        found.append(merkle.leaf_hash(leaf.entry()))
        assert found[-1].hex() == vector["hash"]
    root, of_2 = bytes.fromhex(log["root"]), bytes.fromhex(log["root_of_2"])
    assert (merkle.root_of_leaves(found), merkle.root_of_leaves(found[:2])) == (root, of_2)
    path = [bytes.fromhex(value) for value in log["inclusion_of_leaf_1"]]
    assert merkle.is_included(found[1], 1, 3, path, root)
    proof = [bytes.fromhex(value) for value in log["consistency_from_2"]]
    assert merkle.is_consistent(2, of_2, 3, root, proof)
    note = checkpoint.read_checkpoint(log["checkpoint"].encode())
    assert (note.head.size, note.head.root) == (3, root)
    assert note.head.origin == checkpoint.log_origin(vectors.ORGANIZATION_ID)
    assert note.signed_by(bytes.fromhex(VECTORS["envelope"]["public_key"]), verify_signature)


def test_the_line_shown_is_the_first_vectors():
    vector = VECTORS["records"][0]
    body, salt = vector["body"].encode(), bytes.fromhex(vector["salt"])
    line = records.encode_record(1, header(vector), body, salt, bytes.fromhex(vector["hash"]))
    assert line.decode() == BLOCKS[1]
    assert read_record(line.rstrip(b"\n"), 1).body == body


def test_the_page_lists_the_files_in_their_order():
    table = PAGE.split("## 4. The files")[1]
    assert (
        tuple(re.findall(r"^\| `([a-zA-Z0-9.]+)` \|", table, re.MULTILINE))[: len(layout.MEMBERS)]
        == layout.MEMBERS
    )


@pytest.mark.parametrize(
    "name",
    [
        chain.FORMAT.decode(),
        leaves.LEAF_FORMAT.decode(),
        checkpoint.ORIGIN_PREFIX,
        *(f"| `{k}` |" for k in (leaves.SESSION_LEAF, leaves.AUDIT_LEAF, leaves.ROLLBACK_LEAF)),
        statement.STATEMENT_TYPE,
        statement.PREDICATE_TYPE,
        dsse.IN_TOTO,
        *(f"| {code} | " for code in report.EXIT_CODES.values()),
    ],
)
def test_the_page_has_the_codes_names(name):
    assert name in PAGE


def test_the_verifier_knows_what_the_server_writes():
    assert signed._STATEMENT == statement.STATEMENT_TYPE
    assert signed._PREDICATE == statement.PREDICATE_TYPE
