"""The code blocks of a document, and a shell to follow them in."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from keeptrusts_runners import env
from tests import live

ROOT = env.BASE_DIR
LIMIT_SECONDS = 240

# A fence at the start of a line, perhaps after a comment that says why it is not executed.
_BLOCK = re.compile(
    r"^(?:<!-- not executed: (?P<why>[^\n]+?) -->\n)?```(?P<language>\w*)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Block:
    """One fenced block; `why_not` is the reason that it gives for not being executed."""

    language: str
    text: str
    why_not: str | None


def blocks(text: str) -> list[Block]:
    found = [Block(m["language"], m["text"], m["why"]) for m in _BLOCK.finditer(text)]
    assert 2 * len(found) == len(re.findall(r"^\s*```", text, re.MULTILINE)), "a fence is not seen"
    return found


def executed(document: Path | str) -> list[Block]:
    """Those to execute, in order: of a file, or of a text."""
    text = document.read_text() if isinstance(document, Path) else document
    return [block for block in blocks(text) if block.why_not is None]


def shell(found: list[Block]) -> str:
    """One script of all blocks of shell, for bash. Raises AssertionError for other languages."""
    assert {block.language for block in found} <= {"sh"}
    return "\n".join(block.text for block in found)


def run(
    script: str,
    variables: Mapping[str, str],
    *,
    cwd: Path,
    environment: Mapping[str, str] | None = None,
) -> str:
    """What bash prints for the script; a command that fails fails the test.

    Commands of the product work on the test databases, unless another `environment` is given.
    """
    given = dict(live.environment() if environment is None else environment)
    given["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    ended = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=cwd,
        env=given | dict(variables),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=LIMIT_SECONDS,
    )
    assert ended.returncode == 0, f"exit {ended.returncode}\n{ended.stdout}"
    return ended.stdout
