"""A bundle verified offline, by the code that auditors run."""

from __future__ import annotations

import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from bench.figures import Benchmark, Figure, Size, Target, figure

if TYPE_CHECKING:
    from bench.stage import Stage


def measure(stage: Stage, size: Size) -> list[Figure]:
    from keeptrusts_runners.evidence.verifier.verification import verify_bundle

    with TemporaryDirectory(prefix="keeptrusts-bench-") as directory:
        bundle, key, number = _bundle(Path(directory), size)
        rates = []
        for _ in range(size.rounds):
            start = time.perf_counter()
            report = verify_bundle(bundle, key)
            rates.append(number / (time.perf_counter() - start))
            if report.exit_code != 0:
                raise AssertionError("what was measured did not verify")
    target = Target(least=50_000, of_ratio=False)
    return [figure("records verified", "1/s", rates, target=target)]


def _bundle(directory: Path, size: Size) -> tuple[Path, str, int]:
    """A bundle of one long session, the key that signed it, and how many records it holds."""
    from bench.stage import Organization
    from grants import bundle
    from grants.models import LedgerHead
    from keeptrusts_runners import clock
    from keeptrusts_runners.identity.tenancy import organization_scope
    from keeptrusts_runners.seeding import seeder

    organization = Organization("Evidence")
    events = max(size.few_events, size.many_events // 10)
    seeder.seed(organization.id, sessions=1, events=events, seed=2, now=clock.now())
    with organization_scope(organization.id):
        head = LedgerHead.objects.get(organization_id=organization.id)
    file = directory / bundle.filename(head.session_id)
    with file.open("wb") as out:
        for chunk in bundle.stream(head.session_id, by=organization.dispatcher.principal):
            out.write(chunk)
    return file, bundle.signing_key().kid, head.seq


BENCHMARK = Benchmark("verifier", "Evidence verified offline.", measure)
