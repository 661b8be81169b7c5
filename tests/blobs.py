"""The stores of tests: files, and an S3-compatible service of this process."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from django.conf import settings

from grants.file_store import FileStore

_BUCKET = "artifacts"
_CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "tests",
    "AWS_SECRET_ACCESS_KEY": "tests",
    "AWS_REGION": "us-east-1",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    """The address of a service with an empty bucket, and this process's credentials for it."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in _CREDENTIALS.items():
            patch.setenv(name, value)
        _client(f"http://{host}:{port}").create_bucket(Bucket=_BUCKET)
        yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(scope="module", params=["file", "s3"])
def each_store(request: pytest.FixtureRequest) -> Iterator[str]:
    """Every test of the module, on either store."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "s3":
            endpoint = request.getfixturevalue("s3_endpoint")
            patch.setattr(settings, "ARTIFACTS", f"s3://{_BUCKET}/tests")
            patch.setattr(settings, "S3_ENDPOINT", endpoint)
        yield request.param


@cache
def _client(endpoint: str) -> Any:
    import boto3

    return boto3.client("s3", endpoint_url=endpoint)


def path_of(organization_id: UUID, sha256: str) -> Path:
    """A blob's file."""
    return FileStore(Path(settings.ARTIFACTS_DIR)).path_of(organization_id, sha256)


def kept(organization_id: UUID) -> list[str]:
    """The names of everything that the store has of the organization, in order."""
    if settings.ARTIFACTS == "file":
        found = (Path(settings.ARTIFACTS_DIR) / organization_id.hex).rglob("*")
        return sorted(file.name for file in found if file.is_file())
    pages = _client(settings.S3_ENDPOINT).get_paginator("list_objects_v2")
    listed = pages.paginate(Bucket=_BUCKET, Prefix=f"tests/{organization_id.hex}/")
    return sorted(
        each["Key"].rpartition("/")[2] for page in listed for each in page.get("Contents", ())
    )


def drafts() -> list[Path]:
    """Everything that is on its way in, or left over from it."""
    return sorted((Path(settings.ARTIFACTS_DIR) / "incoming").glob("*"))


def lose(organization_id: UUID, sha256: str) -> None:
    """The store forgets these bytes."""
    from grants import storage

    storage.store().remove(organization_id, sha256)
