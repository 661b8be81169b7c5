"""The command line of the verifier."""

from __future__ import annotations

import argparse
import io
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from keeptrusts_runners.evidence.verifier.report import render
from keeptrusts_runners.evidence.verifier.verification import verify_bundle

DESCRIPTION = "Verifies the evidence of a runner session, without the server that wrote it."
_EXIT_CODES = "Exit code 0: verified. 1: broken. 2: the input is not usable."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="the exported archive")
    parser.add_argument(
        "--key",
        metavar="KEY",
        help="the signing key that you trust: a file (PEM, JWK, JWK set) or a key id; "
        "write --key=ID, since an id may begin with a dash",
    )
    parser.add_argument(
        "--artifacts", type=Path, metavar="DIR", help="compare the session's files in DIR"
    )
    parser.add_argument(
        "--checkpoint",
        type=Path,
        metavar="FILE",
        help="a checkpoint of the organization's log that you kept: the bundle's must agree",
    )
    parser.add_argument(
        "--consistency",
        type=Path,
        metavar="FILE",
        help="the proof between the two, where they are of different sizes",
    )
    parser.add_argument(
        "--leaves",
        type=Path,
        metavar="FILE",
        help="all leaves of the log: that it has no later record of the session",
    )
    parser.add_argument("--json", action="store_true", help="print the report as JSON")


def run(
    bundle: Path,
    key: str | None = None,
    artifacts: Path | None = None,
    *,
    checkpoint: Path | None = None,
    consistency: Path | None = None,
    leaves: Path | None = None,
    as_json: bool = False,
) -> tuple[str, int]:
    """The report as text, and the exit code."""
    report = verify_bundle(bundle, key, artifacts, checkpoint, consistency, leaves)
    if as_json:
        return json.dumps(report.as_dict(), indent=2), report.exit_code
    return render(report), report.exit_code


def run_arguments(given: argparse.Namespace) -> tuple[str, int]:
    """The same for what `add_arguments` has read."""
    return run(
        given.bundle,
        given.key,
        given.artifacts,
        checkpoint=given.checkpoint,
        consistency=given.consistency,
        leaves=given.leaves,
        as_json=given.json,
    )


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=DESCRIPTION, epilog=_EXIT_CODES)
    add_arguments(parser)
    given = parser.parse_args(arguments)
    text, exit_code = run_arguments(given)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    print(text)
    return exit_code
