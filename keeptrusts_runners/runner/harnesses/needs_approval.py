#!/usr/bin/env python3
"""Does one protected thing, after a person has approved it.

Input: ``{"operation": "release.publish", "resource": "staging", "reason": …}``.
"""

import keeptrusts_harness
from keeptrusts_harness import Session


def main(session: Session) -> dict[str, object]:
    """Asks, waits for the decision, records the use, and finishes."""
    given = session.input if isinstance(session.input, dict) else {}
    operation = str(given.get("operation", "release.publish"))
    resource = str(given.get("resource", "staging"))
    reason = str(given.get("reason", "Publish the release that passed its checks"))
    session.event("approval", f"Waiting for a decision on {operation}", step="approval")
    session.progress(0, 1, "approvals", "waiting for a decision")
    grant = session.obtain_grant(operation, resource, reason, 900)
    session.use_grant(grant, resource)
    session.progress(1, 1, "approvals", "approved and done")
    session.event("step.finished", f"{operation} on {resource} is done", step="approval")
    return {"operation": operation, "resource": resource, "grant_id": grant}


if __name__ == "__main__":
    keeptrusts_harness.run(main)
