"""What the runner says about itself: a line for people, or a JSON object for machines."""

import json
import sys
import threading
from datetime import UTC, datetime
from typing import Any


class Report:
    """One line per occurrence: text on stderr, or JSON on stdout."""

    def __init__(self, as_json: bool = False) -> None:
        self._as_json = as_json
        self._lock = threading.Lock()

    def say(self, event: str, text: str, **facts: Any) -> None:
        """`event` is a stable name for machines, `text` a sentence for people."""
        now = datetime.now(UTC)
        if self._as_json:
            at = now.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
            line = json.dumps({"at": at, "event": event, "message": text, **facts})
        else:
            line = f"{now.astimezone():%H:%M:%S}  {harmless(text)}"
        with self._lock:
            print(line, file=sys.stdout if self._as_json else sys.stderr, flush=True)


def harmless(text: str) -> str:
    """Names come from outside; none of them may move the cursor of a terminal."""
    return "".join(character if character.isprintable() else "?" for character in text)
