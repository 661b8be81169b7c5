"""The models of evidence, each group in a module of its own."""

from keeptrusts_runners.evidence.audit_models import AuditRecord as AuditRecord
from keeptrusts_runners.evidence.audit_models import Denial as Denial
from keeptrusts_runners.evidence.log_models import Log as Log
from keeptrusts_runners.evidence.log_models import LogCheckpoint as LogCheckpoint
from keeptrusts_runners.evidence.log_models import LogKey as LogKey
from keeptrusts_runners.evidence.log_models import LogLeaf as LogLeaf
from keeptrusts_runners.evidence.log_models import LogTile as LogTile
from keeptrusts_runners.evidence.log_models import Pending as Pending
