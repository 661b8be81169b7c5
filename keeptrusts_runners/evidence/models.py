"""The models of evidence, each group in a module of its own."""

from keeptrusts_runners.evidence.audit_models import AuditRecord as AuditRecord
from keeptrusts_runners.evidence.audit_models import Denial as Denial
