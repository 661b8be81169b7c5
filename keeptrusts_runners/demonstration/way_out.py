"""The demo's second scene: a download that is refused, approved, under way, revoked and cut."""

from __future__ import annotations

import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from django.core.management.base import CommandError

from keeptrusts_runners.demonstration.road import Road

# Announced, and so slow that nobody waits for its end.
_BYTES = 1 << 30
_PIECE = b"." * 4096


class Site:
    """A server on this machine with one long download."""

    def __enter__(self) -> Self:
        self._over = threading.Event()
        over = self._over

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Length", str(_BYTES))
                self.end_headers()
                with suppress(OSError):
                    while not over.wait(0.05):
                        self.wfile.write(_PIECE)

            def log_message(self, *_: Any) -> None:
                """Quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/"
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._server.shutdown()
        self._server.server_close()


def download(road: Road, profile_id: str) -> None:
    """Raises CommandError where it ends in another way than by the revocation."""
    with Site() as site:
        session = road.dispatch(profile_id, "demo-download", {"url": site.url})
        path = f"/v1/runners/sessions/{session['id']}"
        ended = road.follow(path, lambda event: _hear(road, path, event))
    if ended["state"] != "completed" or ended["result"]["complete"]:
        raise CommandError(f"The download ended as {ended['state']}: {ended['result']}")


def _hear(road: Road, path: str, event: dict[str, Any]) -> None:
    """The approver says yes; the operator takes it back as soon as bytes come."""
    road.hear(path, event)
    if event["kind"] == "step.started" and event["step"] == "download":
        for grant in road.operator.pages(f"{path}/permissions", state="active"):
            road.operator.call("DELETE", f"{path}/permissions/{grant['id']}")
