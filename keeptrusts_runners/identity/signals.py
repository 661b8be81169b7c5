"""What identity tells those above it."""

from __future__ import annotations

from django.dispatch import Signal

# Sent with `send` inside the transaction of the change and within its organization's scope, with
# `organization_id` and `account` (the TypeID): this account may do nothing any more.
account_revoked = Signal()
