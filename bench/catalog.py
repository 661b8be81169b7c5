"""Every benchmark, in the order in which they run."""

from __future__ import annotations

from bench import (
    blocked_head,
    claim_next,
    dispatch,
    downloads,
    event_windows,
    heartbeat,
    ingest,
    open_streams,
    revocation,
    upload,
    verifier,
    waiting_claims,
)
from bench.figures import Benchmark

BENCHMARKS: dict[str, Benchmark] = {
    module.BENCHMARK.name: module.BENCHMARK
    for module in (
        dispatch,
        claim_next,
        heartbeat,
        waiting_claims,
        open_streams,
        blocked_head,
        ingest,
        event_windows,
        revocation,
        upload,
        downloads,
        verifier,
    )
}
