"""Resumable uploads as a client does them."""

from __future__ import annotations

from typing import Any

from grants.upload_models import Upload
from sessions.models import RunnerSession
from tests import blobs
from tests.factories import path
from tests.people import Api, Org

PARTIAL = "application/partial-upload"


def begin(
    api: Api, session: RunnerSession, raw: bytes = b"", query: str = "", **headers: Any
) -> Any:
    """POST an upload that is to go on."""
    given = {"Content-Type": "text/plain", "Upload-Complete": "?0"} | headers
    place = f"{path(session, 'artifacts')}?name=big.bin{query}"
    return api.request("POST", place, raw=raw, **{k: str(v) for k, v in given.items()})


def begun(api: Api, session: RunnerSession, raw: bytes = b"", **headers: Any) -> str:
    """The id of a new upload."""
    answer = begin(api, session, raw, **headers)
    assert answer.status_code == 201, answer.content
    return str(answer.json()["id"])


def append(
    api: Api,
    session: RunnerSession,
    upload: str,
    raw: bytes,
    offset: int,
    complete: bool = False,
    **headers: Any,
) -> Any:
    given = {
        "Content-Type": PARTIAL,
        "Upload-Offset": offset,
        "Upload-Complete": "?1" if complete else "?0",
    } | headers
    place = path(session, "artifacts", upload, "content")
    return api.request("PATCH", place, raw=raw, **{k: str(v) for k, v in given.items()})


def state(api: Api, session: RunnerSession, upload: str) -> Any:
    return api.request("HEAD", path(session, "artifacts", upload, "content"))


def cancel(api: Api, session: RunnerSession, upload: str) -> Any:
    return api.delete(path(session, "artifacts", upload, "content"))


def forget(org: Org) -> None:
    """End what uploads a test has left, with their files."""
    with org.scope():
        Upload.objects.all().delete()
    for left in blobs.drafts():
        left.unlink()
