"""What profiles tell those above them."""

from __future__ import annotations

from django.dispatch import Signal

# Sent with `send` inside the transaction of the change, with `organization_id`: work that this
# profile held back may be handed out again.
work_released = Signal()
