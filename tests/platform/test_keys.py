"""Key files: made once, by one process, readable by the owner alone."""

import base64
import os
import stat
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa

from keeptrusts_runners import jwk, keys


def test_thumbprint_of_the_example_of_rfc_8037():
    public = base64.urlsafe_b64decode("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo=")
    assert jwk.thumbprint(public) == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"


def test_a_key_is_made_once_and_loaded_afterwards(tmp_path):
    path = tmp_path / "keys" / "evidence.pem"
    made = keys.load_or_create(path)
    assert keys.load_or_create(path) == made == keys.load(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert [entry.name for entry in path.parent.iterdir()] == ["evidence.pem"]


def test_a_signature_verifies_and_the_private_half_is_not_shown():
    key = keys.SigningKey.generate()
    public = ed25519.Ed25519PublicKey.from_public_bytes(key.public_raw)
    public.verify(key.sign(b"message"), b"message")
    assert "private" not in repr(key)
    assert set(key.public_jwk()) == {"kty", "crv", "x", "kid", "alg", "use"}


def test_processes_that_start_together_get_the_same_key(tmp_path):
    path = tmp_path / "evidence.pem"
    barrier = threading.Barrier(16)

    def start(_):
        barrier.wait()
        return keys.load_or_create(path).kid

    with ThreadPoolExecutor(16) as pool:
        assert len(set(pool.map(start, range(16)))) == 1
    assert [entry.name for entry in tmp_path.iterdir()] == ["evidence.pem"]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o777])
def test_a_key_that_others_may_read_is_refused(tmp_path, mode):
    path = tmp_path / "evidence.pem"
    keys.load_or_create(path)
    path.chmod(mode)
    with pytest.raises(keys.KeyFileRefused, match="chmod 600"):
        keys.load_or_create(path)


def _pem(private):
    return private.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not a key",
        b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
        _pem(rsa.generate_private_key(65537, 2048)),
        ed25519.Ed25519PrivateKey.generate().private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"passphrase"),
        ),
    ],
    ids=["empty", "text", "broken", "rsa", "encrypted"],
)
def test_a_file_without_a_usable_key_is_refused(tmp_path, content):
    path = tmp_path / "evidence.pem"
    path.touch(0o600)
    path.write_bytes(content)
    with pytest.raises(keys.KeyFileRefused, match=r"evidence\.pem"):
        keys.load(path)


def test_a_directory_and_a_pipe_are_refused_without_waiting(tmp_path):
    os.mkfifo(tmp_path / "pipe", 0o600)
    with pytest.raises(keys.KeyFileRefused, match="regular"):
        keys.load(tmp_path / "pipe")
    with pytest.raises(IsADirectoryError):
        keys.load(tmp_path)
