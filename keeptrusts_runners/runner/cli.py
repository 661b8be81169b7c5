"""The command line: options in, one clear line out when something is wrong."""

import argparse
import sys
from collections.abc import Sequence

from keeptrusts_runners.runner import artifacts_cli
from keeptrusts_runners.runner.claiming import CannotWork
from keeptrusts_runners.runner.options import UsageError, add_arguments, read_options
from keeptrusts_runners.runner.report import Report
from keeptrusts_runners.runner.runner import Runner
from keeptrusts_runners.runner.tokens import SecretUnreadable
from keeptrusts_runners.runner.workspace import AreaUnusable

DESCRIPTION = (
    "Claims sessions of a Keeptrusts control plane and executes their harness. "
    "SIGTERM or Ctrl-C stops it gracefully, a second one at once."
)

EPILOG = "To download what a session produced: runner artifacts get --help"


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status: see Runner.run; 2 for what has to be put right before it can work."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments[:1] == ["artifacts"]:
        return artifacts_cli.main(arguments[1:])
    parser = argparse.ArgumentParser(prog="runner", description=DESCRIPTION, epilog=EPILOG)
    add_arguments(parser)
    return run(parser.parse_args(arguments))


def run(given: argparse.Namespace) -> int:
    """Run with parsed arguments."""
    try:
        options = read_options(given)
        return Runner(options, Report(options.as_json)).run()
    except (UsageError, SecretUnreadable, AreaUnusable, CannotWork) as error:
        print(f"runner: {error}", file=sys.stderr)
        return 2
