#!/usr/bin/env python3
"""Fails, and says why: a report whose source does not answer.

Input: ``{"source": NAME, "retryable": false}``.
"""

import sys

import keeptrusts_harness
from keeptrusts_harness import Failure, Session


def main(session: Session) -> dict[str, object]:
    """Ends as failed with ``report_source_unreachable``."""
    given = session.input if isinstance(session.input, dict) else {}
    source = given.get("source", "ledger-export")
    session.event("step.started", f"Read {source}", step="read")
    session.progress(1, 3, "steps", f"connecting to {source}")
    print(f"connecting to {source}: no route", file=sys.stderr)
    message = f"{source} did not answer; the report was not written"
    session.event("failure", message, level="error", step="read")
    raise Failure("report_source_unreachable", message, retryable=given.get("retryable") is True)


if __name__ == "__main__":
    keeptrusts_harness.run(main)
