"""The door of blobs, the same in front of either store."""

from __future__ import annotations

import hashlib
import os
from uuid import UUID

import pytest
from django.conf import settings

from grants import drafts, storage
from grants.s3_store import S3Store
from grants.storage import BlobMissing
from keeptrusts_runners import ids
from keeptrusts_runners.errors import PayloadTooLarge, StorageUnavailable
from tests import blobs
from tests.blobs import each_store, s3_endpoint  # noqa: F401  (fixtures)
from tests.commands.product import free_port

CONTENT = os.urandom(700_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()

pytestmark = pytest.mark.usefixtures("each_store")


def receive(organization: UUID, *chunks: bytes, most: int = 1 << 30) -> storage.Blob:
    with drafts.Draft(organization, most) as draft:
        for chunk in chunks:
            draft.write(chunk)
        return draft.store()


@pytest.fixture
def organization() -> UUID:
    return ids.new()


@pytest.mark.proves("artifact.stores")
def test_what_comes_in_is_there_by_its_digest_and_no_draft_is_left(organization: UUID) -> None:
    made = receive(organization, CONTENT[:1], CONTENT[1:])
    assert made == storage.Blob(SHA256, len(CONTENT))
    assert (blobs.kept(organization), blobs.drafts()) == ([SHA256], [])
    assert storage.store().size(organization, SHA256) == len(CONTENT)
    assert receive(organization, CONTENT) == made
    assert blobs.kept(organization) == [SHA256]


@pytest.mark.parametrize(
    ("offset", "length"),
    [(0, None), (0, 10), (10, None), (699_990, 10), (699_990, 100), (0, 0), (700_000, None),
     (300_000, 300_000)],
)  # fmt: skip
def test_a_range_is_that_range(organization: UUID, offset: int, length: int | None) -> None:
    receive(organization, CONTENT)
    chunks = list(storage.store().open_range(organization, SHA256, offset, length))
    assert max(map(len, chunks), default=0) <= storage.CHUNK_BYTES
    expected = CONTENT[offset:] if length is None else CONTENT[offset : offset + length]
    assert b"".join(chunks) == expected


def test_nothing_is_a_blob_too(organization: UUID) -> None:
    made = receive(organization)
    assert storage.store().size(organization, made.sha256) == 0
    assert list(storage.store().open_range(organization, made.sha256)) == []


def test_what_is_not_there_is_said_at_once(organization: UUID) -> None:
    receive(ids.new(), CONTENT)
    receive(organization, b"something else")
    store = storage.store()
    assert store.size(organization, SHA256) is None
    assert not store.exists(organization, SHA256)
    with pytest.raises(BlobMissing):
        store.open_range(organization, SHA256, 5, 5)
    store.remove(organization, SHA256)


def test_what_is_removed_is_gone_from_its_organization_alone(organization: UUID) -> None:
    other = ids.new()
    for each in (organization, other):
        receive(each, CONTENT)
    for _ in range(2):
        storage.store().remove(organization, SHA256)
    assert (blobs.kept(organization), blobs.kept(other)) == ([], [SHA256])


def test_what_is_too_large_leaves_nothing(organization: UUID) -> None:
    with pytest.raises(PayloadTooLarge):
        receive(organization, b"x" * 600, b"x" * 600, most=1000)
    assert (blobs.kept(organization), blobs.drafts()) == ([], [])


def test_a_store_that_can_be_used_passes_its_probe() -> None:
    storage.store().probe()


@pytest.mark.proves("artifact.stores")
def test_a_service_that_is_away_is_an_answer_and_leaves_nothing(
    organization: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "ARTIFACTS", "s3://artifacts")
    monkeypatch.setattr(settings, "S3_ENDPOINT", f"http://127.0.0.1:{free_port()}")
    with pytest.raises(StorageUnavailable) as refusal:
        receive(organization, b"bytes")
    assert refusal.value.retry_after
    assert blobs.drafts() == []


def test_a_bucket_that_is_not_there_fails_its_probe(
    s3_endpoint: str,  # noqa: F811
) -> None:
    with pytest.raises(StorageUnavailable):
        S3Store("s3://nobody-made-it", s3_endpoint).probe()
