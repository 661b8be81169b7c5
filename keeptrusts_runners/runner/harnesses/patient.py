#!/usr/bin/env python3
"""Runs for a while and says how far it is; stops when asked and goes on from there.

Input: ``{"seconds": 60}``.
"""

import keeptrusts_harness
from keeptrusts_harness import Session, Stopped


def main(session: Session) -> dict[str, object]:
    """Counts seconds; the count is the checkpoint."""
    given = session.input if isinstance(session.input, dict) else {}
    seconds = int(given.get("seconds", 60))
    elapsed = int((session.checkpoint_data or {}).get("elapsed", 0))
    session.event("step.started", f"Wait from second {elapsed}", step="wait")
    try:
        while elapsed < seconds:
            session.progress(elapsed, seconds, "seconds", "waiting patiently")
            session.wait(1.0)
            elapsed += 1
    except Stopped:
        session.checkpoint({"elapsed": elapsed}, label=f"{elapsed} s")
        raise
    session.progress(seconds, seconds, "seconds", "done")
    session.event("step.finished", f"Waited {seconds} seconds", step="wait")
    return {"seconds": seconds}


if __name__ == "__main__":
    keeptrusts_harness.run(main)
