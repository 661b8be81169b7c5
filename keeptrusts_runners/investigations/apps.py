"""Django's admin with a site of our own."""

from __future__ import annotations

from django.contrib.admin.apps import AdminConfig


class InvestigationsConfig(AdminConfig):
    default_site = "keeptrusts_runners.investigations.site.Investigations"
