"""A claim when the head of the queue is not for it: how much what stands in front costs.

In front are as many sessions as a long queue has, of a profile that runs as many as it may, or
with labels that nobody offers. What can be claimed stands behind them.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from bench.claim_next import PART, product
from bench.figures import Benchmark, Figure, Size, figure
from bench.http import Http
from bench.load import Side, interleave

if TYPE_CHECKING:
    from bench.stage import Organization, Stage

BEHIND = 500


def measure(stage: Stage, size: Size) -> list[Figure]:
    from bench.stage import Organization

    nothing = Organization("Nothing in front")
    saturated = Organization("A saturated profile in front")
    _saturate(stage, saturated, size.many)
    unoffered = Organization("Labels nobody offers in front")
    unoffered.pend(unoffered.profile("gpu"), size.many, priority=1, labels={"gpu": "h100"})
    organizations = {"nothing": nothing, "saturated": saturated, "unoffered": unoffered}
    sides = [_side(stage, name, organization) for name, organization in organizations.items()]
    stage.settle()
    turns = interleave(1, sides, size.rounds, size.seconds)
    latency = {name: [1000 * turn.median for turn in made] for name, made in turns.items()}
    against = partial(figure, reference=latency["nothing"], against="nothing in front")
    return [
        figure("one claim, nothing in front", "ms", latency["nothing"]),
        against(f"behind {size.many:,} of a saturated profile", "ms", latency["saturated"]),
        against(f"behind {size.many:,} with labels nobody offers", "ms", latency["unoffered"]),
    ]


def _saturate(stage: Stage, organization: Organization, number: int) -> None:
    profile = organization.profile("one at a time", max_concurrent_sessions=1)
    organization.pend(profile, number, priority=1)
    Http(stage.url, organization.runner.token).post("/v1/runners/sessions/claim", {})


def _side(stage: Stage, name: str, organization: Organization) -> Side:
    profile = organization.profile()
    before = partial(organization.fill, profile, BEHIND)
    before()
    return Side(name, product, stage.product(organization.runner), BEHIND // PART, before)


BENCHMARK = Benchmark("blocked_head", "Claims past sessions that the claimer cannot have.", measure)
