#!/usr/bin/env python3
"""The entry point. On a fresh machine it first makes the environment it runs in."""

import sys

if sys.version_info < (3, 11):  # noqa: UP036  (the very first line must be true on old Pythons)
    sys.exit("keeptrusts: Python 3.11 or newer is needed; this is " + sys.version.split()[0] + ".")

from keeptrusts_runners import bootstrap


def main() -> None:
    bootstrap.ensure(sys.argv)
    if sys.argv[1:2] == ["bootstrap"]:
        return
    # From here on everything that is installed can be imported.
    from keeptrusts_runners import command_line

    command_line.run(sys.argv)


if __name__ == "__main__":
    main()
