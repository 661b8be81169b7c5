"""`evidence_log`: what an operator sees of the logs and decides about them."""

from __future__ import annotations

import io
from typing import Any

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command
from django.db import connections

from keeptrusts_runners import ids
from keeptrusts_runners.evidence import log_figures, signer
from keeptrusts_runners.evidence.verifier.ed25519 import verify_signature
from keeptrusts_runners.keys import load
from tests.evidence import logs
from tests.people import Org


@pytest.fixture
def org() -> Org:
    return Org()


def said(*arguments: str) -> str:
    out = io.StringIO()
    call_command("evidence_log", *arguments, stdout=out)
    return out.getvalue()


def rolled_back(org: Org) -> str:
    """From four leaves to two; the organization's id."""
    logs.an_anchored_log(org, 2)
    saved = logs.backup(org)
    logs.an_anchored_log(org, 2)
    logs.restore(org.id, saved)
    signer.run_once()
    return ids.encode("org", org.id)


def test_status_tells_sizes_keys_and_what_is_not_signed(org: Org) -> None:
    other = Org()
    logs.an_anchored_log(other, 3)
    name = rolled_back(org)
    lines = said("status").splitlines()
    (line,) = [line for line in lines if line.startswith(name)]
    assert line.endswith("The database was rolled back from size 4 to 2.")
    (line,) = [line for line in lines if line.startswith(ids.encode("org", other.id))]
    assert line.split()[1:] == ["3", "of", "3", "signed"]
    assert any("until it is replaced" in line for line in lines)


@pytest.mark.proves("evidence.anchor-rollback")
def test_a_rollback_is_accepted_by_a_person_and_signing_goes_on(org: Org) -> None:
    name = rolled_back(org)
    assert "goes on from size 2; it was 4" in said("accept-rollback", "--org", name)
    logs.an_anchored_log(org, 1)
    assert logs.file_of(org).last().head.size == 4
    with pytest.raises(CommandError, match="nothing to accept"):
        said("accept-rollback", "--org", name)


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["accept-rollback", "--org", "x"], "--org takes an organization's id"),
        (["accept-rollback"], "--org"),
        (["rotate-key", "--overlap-days", "-1"], "takes a number from 0 to 3650"),
        (["rotate-key", "--overlap-days", "x"], "invalid int value"),
        ([], "VERB"),
        (["forget"], "invalid choice"),
    ],
)
def test_what_cannot_be_meant_is_refused(arguments: list[str], why: str) -> None:
    with pytest.raises(CommandError, match=why):
        said(*arguments)


@pytest.mark.proves("evidence.log-keys")
def test_a_key_is_replaced_and_at_once_if_it_is_compromised(org: Org) -> None:
    logs.an_anchored_log(org, 1)
    old = load(settings.LOG_KEY_FILE)
    assert "for 7 days" in said("rotate-key", "--overlap-days", "7")
    logs.an_anchored_log(org, 1)
    assert logs.file_of(org).last().signed_by(old.public_raw, verify_signature)
    with pytest.raises(CommandError, match="signs until"):
        said("rotate-key")
    with connections["migrate"].cursor() as cursor:
        cursor.execute("UPDATE evidence_log_key SET until = now() WHERE until IS NOT NULL")
    compromised = load(settings.LOG_KEY_FILE)
    assert compromised.kid not in said("rotate-key", "--overlap-days", "0")
    logs.an_anchored_log(org, 1)
    signed = logs.file_of(org).last()
    assert not signed.signed_by(compromised.public_raw, verify_signature)
    assert signed.signed_by(load(settings.LOG_KEY_FILE).public_raw, verify_signature)


# --- figures -----------------------------------------------------------------------------------


def figure(name: str) -> Any:
    (found,) = [m for m in log_figures.metrics() if m.name == f"keeptrusts_log_{name}"]
    return found.samples[0].value


@pytest.mark.proves("evidence.anchor-rollback")
def test_a_log_that_is_not_signed_is_a_metric_and_a_word_of_readiness(org: Org) -> None:
    before = figure("refused")
    name = rolled_back(org)
    assert figure("refused") == before + 1
    assert "are not signed" in str(log_figures.signer_is_away())
    said("accept-rollback", "--org", name)
    assert figure("refused") == before


def test_what_waits_is_a_metric_and_for_how_long(org: Org) -> None:
    logs.pending_session(org)
    assert figure("pending") >= 1
    with connections["migrate"].cursor() as cursor:
        cursor.execute(
            "UPDATE evidence_pending SET at = at - interval '1 hour' WHERE organization_id = %s",
            [org.id],
        )
    assert figure("oldest_pending_seconds") >= 3600
    signer.anchor(org.id)


@pytest.mark.parametrize(
    ("figures", "word"),
    [
        (log_figures.Figures(0, 0, 0.0), None),
        (log_figures.Figures(9, 0, 15.0), None),
        (log_figures.Figures(9, 0, 61.0), "The signer is 61 s behind."),
        (log_figures.Figures(0, 2, 0.0), "The logs of 2 organizations are not signed"),
    ],
)
def test_readiness_says_what_somebody_should_look_at(
    monkeypatch: pytest.MonkeyPatch, figures: log_figures.Figures, word: str | None
) -> None:
    monkeypatch.setattr(log_figures, "figures", lambda: figures)
    told = log_figures.signer_is_away()
    assert told is None if word is None else str(told).startswith(word)
