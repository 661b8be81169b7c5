"""Envelopes: the example of the specification, and the one spelling that we read."""

import base64
import json

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer import SSlibKey

from keeptrusts_runners.evidence import dsse
from keeptrusts_runners.keys import SigningKey


def test_pae_as_in_the_specification():
    expected = b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    assert dsse.pae("http://example.com/HelloWorld", b"hello world") == expected


def test_pae_counts_bytes_and_binds_type_and_payload():
    assert dsse.pae("ü", "€".encode()) == b"DSSEv1 2 \xc3\xbc 3 \xe2\x82\xac"
    assert dsse.pae("", b"") == b"DSSEv1 0  0 "
    assert dsse.pae("a", b"b c") != dsse.pae("a b", b"c")


def test_an_envelope_is_standard_and_comes_back():
    key = SigningKey.generate()
    envelope = dsse.sign_envelope(dsse.IN_TOTO, b'{"a":1}', key)
    document = json.loads(envelope.encode())
    assert base64.b64decode(document["payload"]) == b'{"a":1}'
    assert document["payloadType"] == "application/vnd.in-toto+json"
    [signature] = document["signatures"]
    assert signature["keyid"] == key.kid
    Ed25519PublicKey.from_public_bytes(key.public_raw).verify(
        base64.b64decode(signature["sig"]), dsse.pae(dsse.IN_TOTO, b'{"a":1}')
    )
    assert dsse.decode_envelope(envelope.encode()) == envelope


def test_a_library_of_others_verifies_our_envelope_and_refuses_a_changed_one():
    ours = SigningKey.generate()
    document = json.loads(dsse.sign_envelope(dsse.IN_TOTO, b'{"a":1}', ours).encode())
    key = SSlibKey(ours.kid, "ed25519", "ed25519", {"public": ours.public_raw.hex()})
    accepted = Envelope.from_dict(json.loads(json.dumps(document))).verify([key], threshold=1)
    assert list(accepted) == [ours.kid]
    document["payload"] = base64.b64encode(b'{"a":2}').decode()
    with pytest.raises(VerificationError):
        Envelope.from_dict(document).verify([key], threshold=1)


GOOD = dsse.sign_envelope("t", b"pay?>load", SigningKey.generate()).encode()


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"[]",
        b"{}",
        b"\xff",
        b"[" * 100_000,
        GOOD.rstrip(b"\n"),
        b" " + GOOD,
        GOOD.replace(b'{"payload"', b'{"payload":"","payload"'),
        GOOD.replace(b"}\n", b',"more":1}\n'),
        GOOD.replace(b'"sig":"', b'"sig":"\\u0041'),
        GOOD.replace(b'"keyid":"', b'"keyid":"\\u0041'),
        GOOD.replace(b'"keyid":', b'"keyid":1,"x":'),
        json.dumps(json.loads(GOOD)).encode(),
    ],
)
def test_other_bytes_are_no_envelope(document):
    with pytest.raises(ValueError):
        dsse.decode_envelope(document)


def test_no_byte_of_an_envelope_changes_unseen():
    good = dsse.decode_envelope(GOOD)
    for position in range(len(GOOD)):
        for bit in range(8):
            changed = bytearray(GOOD)
            changed[position] ^= 1 << bit
            try:
                assert dsse.decode_envelope(bytes(changed)) != good
            except ValueError:
                continue
