"""Examples that a view declares for its actions; the schema shows them, tests may send them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Example:
    """One exchange: what is sent, what comes back. Either side may be left out."""

    summary: str
    request: Any = None
    response: Any = None
