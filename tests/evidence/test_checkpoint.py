"""Checkpoints as C2SP has them: known answers, one spelling, and whose signature counts."""

import base64
import hashlib

import pytest

from keeptrusts_runners.evidence import checkpoint
from keeptrusts_runners.evidence.checkpoint import TreeHead, read_checkpoint, sign_checkpoint
from keeptrusts_runners.evidence.verifier.ed25519 import verify_signature
from keeptrusts_runners.keys import SigningKey

# The example of the signed-note specification: a key and a note by it.
PETER_KEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
PETER_NOTE = (
    "If you think cryptography is the answer to your problem,\n"
    "then you don't know what your problem is.\n"
    "\n"
    "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb"
    "6KE6RyyBwJnAM=\n"
)
KEY, OTHER = SigningKey.generate(), SigningKey.generate()
HEAD = TreeHead("keeptrusts.runners/org_1", 5, bytes(range(32)))


def test_the_known_note_and_its_key_hash():
    name, key_hash, encoded = PETER_KEY.split("+", 2)
    key = base64.b64decode(encoded)[1:]
    assert checkpoint.note_key_hash(name, key).hex() == key_hash
    assert checkpoint.verifier_key(name, key) == PETER_KEY
    text, signature = PETER_NOTE.split("\n\n")
    raw = base64.b64decode(signature.split(" ")[2])
    assert raw[:4].hex() == key_hash
    assert verify_signature(key, f"{text}\n".encode(), raw[4:])


def test_a_checkpoint_is_written_as_the_specification_says():
    signed = sign_checkpoint(HEAD, [KEY])
    raw = hashlib.sha256(b"keeptrusts.runners/org_1\n\x01" + KEY.public_raw).digest()[:4]
    text = "keeptrusts.runners/org_1\n5\nAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n"
    line = base64.b64encode(raw + KEY.sign(text.encode())).decode()
    assert signed.note() == f"{text}\n— keeptrusts.runners/org_1 {line}\n"


def test_it_reads_what_it_wrote():
    signed = sign_checkpoint(HEAD, [KEY, OTHER])
    assert read_checkpoint(signed.note().encode()) == signed


def test_either_of_two_keys_vouches_and_no_third():
    signed = read_checkpoint(sign_checkpoint(HEAD, [KEY, OTHER]).note().encode())
    assert signed.signed_by(KEY.public_raw, verify_signature)
    assert signed.signed_by(OTHER.public_raw, verify_signature)
    assert not signed.signed_by(SigningKey.generate().public_raw, verify_signature)


@pytest.mark.parametrize(
    "change",
    [
        lambda note: note.replace("org_1\n5", "org_1\n6"),
        lambda note: note.replace("AAEC", "AAEB"),
        lambda note: note.replace("org_1", "org_2"),
    ],
)
def test_a_changed_head_is_not_signed(change):
    note = change(sign_checkpoint(HEAD, [KEY]).note())
    assert not read_checkpoint(note.encode()).signed_by(KEY.public_raw, verify_signature)


def test_a_signature_under_another_logs_name_does_not_count():
    """One key signs for all organizations: what it signed for one says nothing for another."""
    signed = sign_checkpoint(HEAD, [KEY])
    moved = TreeHead("keeptrusts.runners/org_2", HEAD.size, HEAD.root)
    swapped = checkpoint.SignedCheckpoint(moved, signed.signatures)
    assert not swapped.signed_by(KEY.public_raw, verify_signature)


GOOD = sign_checkpoint(HEAD, [KEY]).note()


@pytest.mark.parametrize(
    "note",
    [
        "",
        "\n\n",
        GOOD.removesuffix("\n"),
        GOOD + "\n",
        GOOD + "more\n",
        GOOD.replace("\n5\n", "\n05\n"),
        GOOD.replace("\n5\n", "\n-5\n"),
        GOOD.replace("\n5\n", "\n" + "9" * 20 + "\n"),
        GOOD.replace("\n\n", "\nextension\n\n"),
        GOOD.replace("\n\n", "\n"),
        GOOD.replace("AAEC", "AA"),
        GOOD.replace("AAEC", "????"),
        GOOD.replace("— ", "- "),
        GOOD.replace("— keeptrusts.runners/org_1 ", "— a b "),
        GOOD.split("\n\n")[0] + "\n\n— name AAAA\n",
        GOOD.split("\n\n")[0] + "\n\n" + GOOD.split("\n\n")[1] * 17,
        GOOD.replace("\n", "\r\n"),
        "x" * 70_000,
    ],
)
def test_anything_else_is_no_checkpoint(note):
    with pytest.raises(ValueError):
        read_checkpoint(note.encode())


def test_bytes_that_are_no_text_are_no_checkpoint():
    with pytest.raises(ValueError):
        read_checkpoint(b"\xff\n\n\xff\n")
