"""The test vectors of docs/evidence-format.md: ``python -m tests.evidence.vectors`` prints them.

Made from the page's own words (`reference_chain`), not from the code that they are to test.
"""

import base64
import hashlib
import json
from uuid import UUID

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.evidence.reference_chain import preimage

ORGANIZATION = UUID("019b0000-0000-7000-8000-000000000001")
SESSION = UUID("019b0000-0000-7000-8000-000000000002")
ORGANIZATION_ID = "org_01kc000000e008000000000001"
# RFC 8032, section 7.1, TEST 1: public knowledge, and so no key for anything else.
SECRET = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")

RECORDS = [
    (
        1767225600000000,
        "state.pending",
        "user_01kc000000e008000000000006",
        0,
        '{"data":{"attempt":0,"from":null,"to":"pending","verb":"dispatch"},'
        '"id":"evt_01kc000000e0080000000000z8","level":"info"}',
    ),
    (
        1767225600250001,
        "log",
        "sa_01kc000000e008000000000007",
        1,
        '{"client_seq":1,"id":"evt_01kc000000e0080000000000z9","level":"info",'
        '"message":"Grüße, 世界"}',
    ),
    (1767225601000000, "x.empty", "system", 1, "{}"),
]


def ledger_vectors():
    prev = bytes(32)
    for seq, (at_us, kind, actor, epoch, body) in enumerate(RECORDS, start=1):
        salt = hashlib.sha256(b"salt %d" % seq).digest()
        digest = hashlib.sha256(salt + body.encode()).digest()
        hashed = preimage(
            ORGANIZATION.bytes, SESSION.bytes, seq, at_us, kind, actor, epoch, digest, prev
        )
        prev = hashlib.sha256(hashed).digest()
        yield {
            "seq": seq,
            "at": at_us,
            "kind": kind,
            "actor": actor,
            "epoch": epoch,
            "body": body,
            "salt": salt.hex(),
            "body_digest": digest.hex(),
            "preimage": hashed.hex(),
            "hash": prev.hex(),
        }


def envelope_vector():
    private = Ed25519PrivateKey.from_private_bytes(SECRET)
    public = private.public_key().public_bytes_raw()
    x = base64.urlsafe_b64encode(public).rstrip(b"=").decode()
    jwk = f'{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}'
    kid = base64.urlsafe_b64encode(hashlib.sha256(jwk.encode()).digest()).rstrip(b"=").decode()
    payload = b'{"_type":"https://in-toto.io/Statement/v1"}'
    message = b"DSSEv1 28 application/vnd.in-toto+json %d %b" % (len(payload), payload)
    return {
        "secret_key": SECRET.hex(),
        "public_key": public.hex(),
        "thumbprint": kid,
        "payload": payload.decode(),
        "signed_message": message.decode(),
        "signature": private.sign(message).hex(),
    }


def field(value):
    return len(value).to_bytes(4, "big") + value


def sha256(value):
    return hashlib.sha256(value).digest()


def log_vector():
    """A log of three leaves, each the session's chain after one more record."""
    leaves, hashes = [], []
    for record in ledger_vectors():
        fields = (b"kt.log.v1", ORGANIZATION.bytes, b"session", SESSION.bytes)
        entry = b"".join(map(field, fields)) + field(record["seq"].to_bytes(8, "big"))
        entry += field(bytes.fromhex(record["hash"]))
        hashes.append(sha256(b"\0" + entry))
        leaves.append({"seq": record["seq"], "entry": entry.hex(), "hash": hashes[-1].hex()})
    one, two, three = hashes
    pair = sha256(b"\1" + one + two)
    root = sha256(b"\1" + pair + three)
    return {
        "leaves": leaves,
        "root": root.hex(),
        "inclusion_of_leaf_1": [one.hex(), three.hex()],
        "consistency_from_2": [three.hex()],
        "root_of_2": pair.hex(),
        "checkpoint": note(root),
    }


def note(root):
    origin = f"keeptrusts.runners/{ORGANIZATION_ID}"
    private = Ed25519PrivateKey.from_private_bytes(SECRET)
    public = private.public_key().public_bytes_raw()
    text = f"{origin}\n3\n{base64.b64encode(root).decode()}\n"
    key_hash = sha256(origin.encode() + b"\n\x01" + public)[:4]
    signature = base64.b64encode(key_hash + private.sign(text.encode())).decode()
    return f"{text}\n\u2014 {origin} {signature}\n"


def document():
    return {
        "organization": str(ORGANIZATION),
        "session": str(SESSION),
        "records": list(ledger_vectors()),
        "envelope": envelope_vector(),
        "log": log_vector(),
    }


if __name__ == "__main__":
    print(json.dumps(document(), indent=2, ensure_ascii=False))
