"""What identity tells those above it."""

from __future__ import annotations

from django.dispatch import Signal

# Sent with `send` inside the transaction of the change and within its organization's scope, with
# `organization_id` and `account` (the TypeID): this account may do nothing any more.
account_revoked = Signal()

# Sent likewise after every change of an organization, a member or a service account, with
# `organization_id`, the `verb` (`member.role_changed`), the `subject` (a TypeID), and what it was
# `before` and is `after`, as small mappings without secrets; None: it was not, or is no more.
identity_changed = Signal()
