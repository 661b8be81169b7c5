"""docs/evidence-format.md: its vectors hold for the code, and it says what the code does."""

import json
import re
from pathlib import Path
from uuid import UUID

import pytest

from keeptrusts_runners import jwk
from keeptrusts_runners.evidence import chain, dsse, layout, records, statement
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


def test_the_line_shown_is_the_first_vectors():
    vector = VECTORS["records"][0]
    body, salt = vector["body"].encode(), bytes.fromhex(vector["salt"])
    line = records.encode_record(1, header(vector), body, salt, bytes.fromhex(vector["hash"]))
    assert line.decode() == BLOCKS[1]
    assert read_record(line.rstrip(b"\n"), 1).body == body


def test_the_page_lists_the_files_in_their_order():
    table = PAGE.split("## 4. The files")[1]
    assert tuple(re.findall(r"^\| `([a-zA-Z.]+)` \|", table, re.MULTILINE))[:12] == layout.MEMBERS


@pytest.mark.parametrize(
    "name",
    [
        chain.FORMAT.decode(),
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
