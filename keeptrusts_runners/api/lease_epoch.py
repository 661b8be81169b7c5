"""The lease epoch that an execution write names: in the body, or in a header for uploads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rest_framework.request import Request

from keeptrusts_runners.errors import InvalidParameter, field_error

HEADER = "Lease-Epoch"


def named_epoch(request: Request, fields: Mapping[str, Any] | None = None) -> int | None:
    """`lease_epoch` of the body or the `Lease-Epoch` header; None when neither names one.

    Raises InvalidParameter for a header that is no epoch, Invalid when the two disagree.
    """
    in_body = (fields or {}).get("lease_epoch")
    text = request.META.get("HTTP_LEASE_EPOCH")
    if text is None:
        return in_body
    if not text.isascii() or not text.isdigit() or len(text) > 15 or int(text) < 1:
        raise InvalidParameter(f"{HEADER} must be a number from 1.")
    if in_body is not None and in_body != int(text):
        raise field_error("/lease_epoch", "contradiction", f"The {HEADER} header names another.")
    return int(text)
