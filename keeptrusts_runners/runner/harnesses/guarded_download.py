#!/usr/bin/env python3
"""Downloads through the runner's proxy: refused without a grant, cut when the grant ends.

Input: ``{"url": "http://127.0.0.1:8080/"}``. The runner needs ``--egress``.
"""

import urllib.request
from http.client import IncompleteRead
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlsplit

import keeptrusts_harness
from keeptrusts_harness import Failure, Session

GRANT_SECONDS = 60


def main(session: Session) -> dict[str, object]:
    """Tries, asks for what the refusal names, and reads to the end, or to where it is cut."""
    url = str(session.input["url"])
    try:
        answer = _open(url)
    except HTTPError as error:
        if error.code != 403:
            raise Failure("download_failed", f"{url} answered {error.code}") from error
        said = error.read().decode().strip()
        session.event("step.started", f"The proxy says: {said}", step="permission")
        operation = f"network.egress:{urlsplit(url).netloc}"
        session.obtain_grant(operation, url, f"Download {url}", GRANT_SECONDS, poll=0.2)
        answer = _open(url)
    session.event("step.started", f"{url} answers {answer.status}", step="download")
    size, whole = _read(answer)
    ending = "is complete" if whole else "was cut"
    session.event("step.finished", f"The download {ending} after {size:,} bytes", step="download")
    return {"bytes": size, "complete": whole}


def _open(url: str) -> Any:
    return urllib.request.urlopen(url, timeout=60)  # noqa: S310 - the proxy decides about it


def _read(answer: Any) -> tuple[int, bool]:
    size = 0
    try:
        while data := answer.read(4096):
            size += len(data)
    except (OSError, IncompleteRead):
        return size, False
    return size, not answer.length


if __name__ == "__main__":
    keeptrusts_harness.run(main)
