"""The admin's own frame: its sign-in is the product's, its start page asks questions, and what
fails is answered as everywhere else."""

from __future__ import annotations

from functools import wraps
from typing import Any

from django.contrib import admin, messages
from django.contrib.auth import get_user
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import SimpleTemplateResponse
from django.urls import reverse

from keeptrusts_runners.console import refusals
from keeptrusts_runners.investigations.columns import address_of
from keeptrusts_runners.investigations.questions import Question


class Investigations(admin.AdminSite):
    site_header = "Keeptrusts Runners: investigations"
    site_title = "Runners"
    index_title = "Investigations"
    site_url = "/runners"
    # Lists want the width, and the start page is one link away.
    enable_nav_sidebar = False

    def login(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        """Whoever is turned away: strangers sign in, people who are not staff are told so."""
        user = get_user(request)
        if user.is_authenticated and not getattr(user, "is_staff", False):
            raise PermissionDenied
        return redirect_to_login(request.GET.get("next") or reverse("admin:index"))

    def admin_view(self, view: Any, cacheable: bool = False) -> Any:
        """Drawn within, so that a question that takes too long is answered as one."""

        @wraps(view)
        def drawn(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
            response: HttpResponse = view(request, *args, **kwargs)
            if isinstance(response, SimpleTemplateResponse):
                response.render()
            return response

        return super().admin_view(refusals.answers_errors("GET", "POST")(drawn), cacheable)

    def index(  # type: ignore[override]
        self, request: HttpRequest, extra_context: Any = None
    ) -> HttpResponse:
        """The questions; with `?q=` whatever this id names."""
        wanted = request.GET.get("q", "").strip()
        if wanted:
            if to := address_of(wanted):
                return HttpResponseRedirect(to)
            messages.error(request, f"No page here is named by “{wanted}”. Paste a whole id.")
        return super().index(request, {"wanted": wanted, **(extra_context or {})})

    def app_index(  # type: ignore[override]
        self, request: HttpRequest, app_label: str, extra_context: Any = None
    ) -> HttpResponse:
        """Apps are how the product is built, and nothing that is asked for."""
        return HttpResponseRedirect(reverse("admin:index"))

    def get_app_list(self, request: HttpRequest, app_label: str | None = None) -> list[Any]:
        """The models by the question that they answer."""
        groups = {question: self._group(question) for question in Question}
        for app in self._build_app_dict(request, app_label).values():
            for entry in app["models"]:
                page = self._page(entry["model"])
                group = groups[page.question]
                group["models"].append(entry | {"name": page.many})
                group["investigations"] += [
                    (f"{entry['admin_url']}?find={each.slug}", each) for each in page.investigations
                ]
        order = {model: place for place, model in enumerate(self._registry)}
        for group in groups.values():
            group["models"].sort(key=lambda entry: order[entry["model"]])
            group["models"].sort(key=lambda entry: not self._page(entry["model"]).first)
        return [group for group in groups.values() if group["models"]]

    def _page(self, model: Any) -> Any:
        return self._registry[model]

    @staticmethod
    def _group(question: Question) -> dict[str, Any]:
        slug = question.name.lower()
        return {
            "name": question.value,
            "app_label": slug,
            "app_url": f"{reverse('admin:index')}#{slug}",
            "has_module_perms": True,
            "models": [],
            "investigations": [],
        }
