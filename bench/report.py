"""What a run found, for people and for programs: a table, JSON, and the page that is kept."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import connections

from bench.figures import Figure, Size
from keeptrusts_runners.env import BASE_DIR

RESULTS = BASE_DIR / "bench" / "results"
PAGE = BASE_DIR / "bench" / "README.md"

COLUMNS = ("figure", "median", "min–max", "against", "ratio", "min–max", "target", "met")

_PAGE = """# Benchmarks

<!-- Written by `manage.py bench`; the next whole run replaces it. -->

`python3 manage.py bench` starts a server as `serve` does, on a database of its own, and measures
the product over HTTP. R, where it stands, is the same SQL work by plain psycopg from as many
connections at the same size of the tables: the limit of any product on this database. The sides
take turns within one run of {rounds} rounds, and a ratio is taken within each round. The absolute
figures are this machine's, on which server, PostgreSQL and load share the cores; only ratios say
something elsewhere, and a difference of less than 1.3× says nothing.

{facts}

{tables}
"""


def document(
    found: Mapping[str, Sequence[Figure]],
    about: Mapping[str, str],
    size: Size,
    workers: int,
    started: datetime,
    load: float,
) -> dict[str, Any]:
    """The whole result as JSON takes it. `load` is the machine's load average before the run."""
    return {
        "started_at": started.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "seconds": round((datetime.now(UTC) - started).total_seconds()),
        "version": settings.VERSION,
        "load_before": load,
        "machine": machine(),
        "server": {"workers": workers, "threads": settings.ENVIRONMENT.web_threads},
        "size": asdict(size),
        "benchmarks": [
            {"name": name, "about": about[name], "figures": [one.as_json() for one in figures]}
            for name, figures in found.items()
        ],
    }


def machine() -> dict[str, Any]:
    return {
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "system": platform.system(),
        "python": platform.python_version(),
        "postgresql": _setting("server_version"),
        "fsync": _setting("fsync"),
        "synchronous_commit": _setting("synchronous_commit"),
    }


def _setting(name: str) -> str:
    with connections["default"].cursor() as cursor:
        cursor.execute("SELECT current_setting(%s)", [name])
        return str(cursor.fetchone()[0])


def keep(result: Mapping[str, Any]) -> Path:
    """Record the result beside those of other days, and write the page from it."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{result['started_at'].replace(':', '')}.json"
    path.write_text(json.dumps(result, indent=2) + "\n")
    PAGE.write_text(page(result))
    return path


def page(result: Mapping[str, Any]) -> str:
    tables = "\n\n".join(
        f"## {one['name']}\n\n{one['about']}\n\n{_markdown(one['figures'])}"
        for one in result["benchmarks"]
    )
    facts = "\n".join(f"- {fact}" for fact in _facts(result))
    rounds = result["size"]["rounds"]
    return _PAGE.format(rounds=rounds, facts=facts, tables=tables)


def _facts(result: Mapping[str, Any]) -> Iterator[str]:
    on, size, server = result["machine"], result["size"], result["server"]
    yield f"{result['started_at'][:10]}, version {result['version']}, {result['seconds']} s in all"
    yield f"{on['cores']} cores, {on['memory_gib']} GiB, {on['system']}, Python {on['python']}"
    yield f"load average before it began: {result['load_before']:.1f}; idle is near 0"
    yield (
        f"PostgreSQL {on['postgresql']}, fsync {on['fsync']}, "
        f"synchronous_commit {on['synchronous_commit']}"
    )
    yield (
        f"server: {server['workers']} process(es) of {server['threads']} threads; "
        f"load: {size['connections']} connections, turns of {size['seconds']:g} s"
    )


def _markdown(figures: Sequence[Mapping[str, Any]]) -> str:
    rows = [COLUMNS, ("---",) * len(COLUMNS), *map(cells, figures)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def cells(figure: Mapping[str, Any]) -> tuple[str, ...]:
    """One figure's row, in the order of COLUMNS."""
    reference, ratio = figure["reference"], figure["ratio"]
    against = f"{figure['against']}: {_number(reference['median'])}" if reference else ""
    met = {True: "yes", False: "NO", None: ""}[figure["met"]]
    return (
        figure["name"],
        f"{_number(figure['median'])} {figure['unit']}",
        _range(figure),
        against,
        f"{ratio['median']:.2f}×" if ratio else "",
        f"{ratio['min']:.2f}–{ratio['max']:.2f}" if ratio else "",
        figure["target"] or "",
        met,
    )


def _range(spread: Mapping[str, Any]) -> str:
    if len(spread["values"]) == 1:
        return ""
    return f"{_number(spread['min'])}–{_number(spread['max'])}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def table(figures: Sequence[Mapping[str, Any]]) -> str:
    """The same for a terminal."""
    rows = [COLUMNS, *map(cells, figures)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(COLUMNS))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )
