"""SHA256SUMS held against artifacts.json: a line for each, with its digest and its own name."""

from __future__ import annotations

import re
from typing import Any

from keeptrusts_runners.evidence.layout import SUMS
from keeptrusts_runners.evidence.verifier.report import Report, shown

_REMOVED = "# removed: "
_SUM = re.compile(r"(\\?)([0-9a-f]{64})  ([^\n]+)")
_ESCAPED = re.compile(r"\\(.)")
_MEANS = {"\\": "\\", "n": "\n", "r": "\r"}


def check_sums(raw: bytes, artifacts: list[Any], report: Report) -> list[str]:
    """The names of the artifacts' files, in the artifacts' order; none where the list is wrong."""
    before = len(report.problems)
    lines = raw.decode("utf-8", "replace").split("\n")
    if lines.pop() != "" or len(lines) != len(artifacts):
        report.break_at(SUMS, f"it has {len(lines)} lines for {len(artifacts)} artifacts")
        return []
    names = [
        _checked_name(number, line, artifact, report)
        for number, (line, artifact) in enumerate(zip(lines, artifacts, strict=True), start=1)
    ]
    if len(set(names)) < len(names):
        report.break_at(SUMS, "two artifacts have one name")
    return names if len(report.problems) == before else []


def _checked_name(number: int, line: str, artifact: Any, report: Report) -> str:
    """The name that a line gives its artifact."""
    entry = artifact if isinstance(artifact, dict) else {}
    removed = entry.get("status") == "removed"
    found = _SUM.fullmatch(line.removeprefix(_REMOVED) if removed else line)
    if found is None or line.startswith(_REMOVED) != removed:
        report.break_at(SUMS, f"line {number} is no digest with a name")
        return str(number)
    marked, digest, name = found.groups()
    if digest != entry.get("sha256"):
        report.break_at(SUMS, f"line {number} has another digest than {shown(entry.get('id'))}")
    if marked:
        name = _ESCAPED.sub(lambda each: _MEANS.get(each[1], each[0]), name)
    if name in (".", "..") or set(name) & {"/", "\0"}:
        report.break_at(SUMS, f"line {number} names a path")
    return name
