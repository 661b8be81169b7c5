"""Pinning: by file or by id, and never by what a bundle says of itself."""

import json

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from keeptrusts_runners.evidence import layout
from keeptrusts_runners.evidence.verifier.verification import verify_bundle
from keeptrusts_runners.keys import SigningKey
from tests.evidence.bundles import Bundle, a_session

KEY, OTHER = SigningKey.generate(), SigningKey.generate()
EXPORTED = a_session().export(KEY)


@pytest.fixture
def bundle(tmp_path):
    path = tmp_path / "bundle.tar"
    path.write_bytes(EXPORTED)
    return path


def pem(key):
    return key.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


FILES = {
    "pem": lambda key: pem(key.private.public_key()),
    "jwk": lambda key: json.dumps(key.public_jwk()).encode(),
    "jwk set": lambda key: json.dumps(
        {"keys": [SigningKey.generate().public_jwk(), key.public_jwk()]}
    ).encode(),
}


@pytest.mark.parametrize("form", FILES)
def test_a_key_from_a_file(bundle, tmp_path, form):
    path = tmp_path / "key"
    path.write_bytes(FILES[form](KEY))
    report = verify_bundle(bundle, str(path))
    assert (report.exit_code, report.key_pinned, report.key_id) == (0, True, KEY.kid)
    path.write_bytes(FILES[form](OTHER))
    assert verify_bundle(bundle, str(path)).exit_code == 1


def test_a_key_by_its_id(bundle):
    assert verify_bundle(bundle, KEY.kid).key_pinned
    report = verify_bundle(bundle, OTHER.kid)
    assert report.exit_code == 1
    assert "not signed by the key that you trust" in report.first_bad.detail


def test_a_pinned_file_needs_no_key_in_the_bundle(tmp_path, bundle):
    path = tmp_path / "key"
    path.write_bytes(FILES["pem"](KEY))
    stripped = Bundle.open(EXPORTED).replace(layout.KEYS, b'{"keys":[]}').resign(KEY)
    bundle.write_bytes(stripped.pack())
    report = verify_bundle(bundle, str(path))
    assert dict(report.checked)["Signature"].startswith("good, by the key that you trust")


def test_a_key_that_only_claims_the_id_is_not_it(bundle):
    """The id is computed from the key; what the bundle calls it does not matter."""
    claimed = OTHER.public_jwk() | {"kid": KEY.kid}
    forged = Bundle.open(EXPORTED).replace(layout.KEYS, json.dumps({"keys": [claimed]}).encode())
    bundle.write_bytes(forged.resign(OTHER).pack())
    assert verify_bundle(bundle, KEY.kid).exit_code == 1


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"text",
        b"[]",
        b"{}",
        b'{"keys": 5}',
        b'{"keys": [5]}',
        b'{"keys": []}',
        b'{"kty":"OKP","crv":"Ed25519","x":"AAAA"}',
        b'{"kty":"OKP","crv":"Ed25519","x":"%s"}' % (b"A" * 42 + b"B"),
        b'{"kty":"OKP","crv":"Ed25519","x":"\xc3\xbc"}',
        b'{"kty":"RSA","n":"AQAB","e":"AQAB"}',
        b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
        b"-----BEGIN PUBLIC KEY-----\nAAA\n-----END PUBLIC KEY-----\n",
        b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        pem(rsa.generate_private_key(65537, 2048).public_key()),
        KEY.private_pem(),
    ],
)
def test_a_file_without_a_usable_key_is_unusable_input(bundle, tmp_path, content):
    path = tmp_path / "key"
    path.write_bytes(content)
    assert verify_bundle(bundle, str(path)).exit_code == 2


@pytest.mark.parametrize("key", ["", "x", "A" * 42, "A" * 44, "A" * 5000, "a\0b", "é" * 43])
def test_a_key_that_is_neither_file_nor_id_is_unusable_input(bundle, key):
    assert verify_bundle(bundle, key).exit_code == 2
