"""One alert: what is known of it, acknowledging it, silencing its rule; and the runbooks."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from django.conf import settings
from django.contrib import messages
from django.http import Http404, HttpResponseBadRequest
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.text import slugify

from performance.alerts import acting
from performance.alerts.catalogue import RULES
from performance.alerts.messages import RUNBOOKS, title
from performance.alerts.rule import shown
from performance.console.acts import ACT, LOOK, framed, record, require
from performance.console.exporting import csv_file
from performance.models import Alert, AlertRule

if TYPE_CHECKING:
    from django.http import HttpRequest, HttpResponse

# Hours that a rule can be silenced for; 0 ends a silence.
HOURS = (1, 4, 24, 168)
NO_LONGER = 0


def alert(request: HttpRequest, pk: int) -> HttpResponse:
    """The alert; a POST acknowledges it, or silences its rule for so many hours (`silence`).

    With `csv` the file of who was told.
    """
    require(request, LOOK)
    found = get_object_or_404(Alert.objects.select_related("acknowledged_by"), pk=pk)
    if request.method == "POST":
        require(request, ACT)
        return _act(request, found)
    notices = found.notices.select_related("channel").order_by("pk")
    if "csv" in request.GET:
        keys = ("channel", "state", "told_at", "attempts", "next_attempt_at", "error")
        rows = [[getattr(one, key) for key in keys] for one in notices]
        return csv_file(f"alert-{pk}-notices", keys, rows)
    rule = RULES.get(found.rule)
    row = AlertRule.objects.filter(name=found.rule, silenced_until__gt=timezone.now()).first()
    context = {
        **framed(request, title(found), "alerts"),
        "alert": found,
        "meaning": rule.meaning if rule else "",
        "value": shown(found.value, rule.unit) if rule else "",
        "threshold": shown(found.threshold, rule.unit) if rule else "",
        "runbook": reverse("console:runbook", args=[slugify(found.runbook)]),
        "is_rule": rule is not None,
        "silenced_until": row.silenced_until if row else None,
        "hours": HOURS,
        "notices": notices,
    }
    return render(request, "admin/performance/alert.html", context)


def _act(request: HttpRequest, found: Alert) -> HttpResponse:
    now = timezone.now()
    if "acknowledge" in request.POST:
        assert request.user.is_authenticated
        if acting.acknowledge(alert_id=found.pk, user=request.user, now=now):
            record(request, "alert", str(found.pk), f"Acknowledged {found}: {found.reason}")
            messages.success(request, "Acknowledged: nobody else is told that it fires.")
        else:
            messages.warning(request, "It does not fire any more, or somebody was faster.")
        return redirect("console:alert", pk=found.pk)
    hours = request.POST.get("silence", "")
    if found.rule not in RULES or hours not in {str(one) for one in (*HOURS, NO_LONGER)}:
        return HttpResponseBadRequest("What to do about the alert is missing.")
    until = now + timedelta(hours=int(hours)) if int(hours) else None
    acting.silence(rule=found.rule, until=until)
    text = f"Silenced for {hours} h" if until else "Ended the silence"
    record(request, "alert rule", found.rule, text)
    messages.success(request, f"{text}: {RULES[found.rule].title}.")
    return redirect("console:alert", pk=found.pk)


def runbook(request: HttpRequest, slug: str) -> HttpResponse:
    """A section of the runbooks, as it is written."""
    require(request, LOOK)
    found = next((one for one in sections() if slugify(one[0]) == slug), None)
    if found is None:
        raise Http404(f"{RUNBOOKS} has no section {slug!r}.")
    context = {**framed(request, found[0], "alerts"), "text": found[1], "file": RUNBOOKS}
    return render(request, "admin/performance/runbook.html", context)


def sections() -> list[tuple[str, str]]:
    """The headings of the runbooks with what stands below each; none where there is no file."""
    file = Path(settings.BASE_DIR, RUNBOOKS)
    if not file.is_file():
        return []
    parts = file.read_text().split("\n## ")[1:]
    return [
        (heading.strip(), text.strip()) for heading, _, text in (p.partition("\n") for p in parts)
    ]
