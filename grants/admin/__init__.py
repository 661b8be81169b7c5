"""Ledgers, artifacts and grants of every organization, to look at."""

from grants.admin import ledgers as ledgers
from grants.admin import permissions as permissions
