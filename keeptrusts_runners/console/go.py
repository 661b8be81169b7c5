"""/runners/go: straight to what an id names, and to the search for anything else."""

from __future__ import annotations

from django.http import HttpResponse, HttpResponseRedirect
from django.shortcuts import render

from keeptrusts_runners.console import finding, navigation
from keeptrusts_runners.console.access import Page, page

MAX_LENGTH = 200


@page()
def go(request: Page) -> HttpResponse:
    """`GET /runners/go?q=`: the object of the id in the text; a page where there are several, or
    none of them is here; a search for text without one."""
    text = request.GET.get("q", "").replace("\x00", "").strip()[:MAX_LENGTH]
    found = finding.found_in(text, request.principal)
    known = [each for each in found if each.address]
    if len(known) == 1:
        return HttpResponseRedirect(known[0].address)
    if text and not found and (search := finding.search_address(text)):
        return HttpResponseRedirect(search)
    context = {
        "text": text,
        "known": known,
        "unknown": [each for each in found if not each.address],
        "search": finding.search_address(text) if text else None,
        "prefixes": finding.known_prefixes(),
        "places": navigation.links(request.principal, request.path, {}),
    }
    return render(request, "runners/go.html", context, status=404 if found and not known else 200)
