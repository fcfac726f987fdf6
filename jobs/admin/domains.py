"""Hosts in the admin: how gently they are scraped, and how they are doing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin
from django.utils import timezone

from jobs.admin.acts import Act, Outcome
from jobs.admin.base import JobsAdmin, list_of, moment
from jobs.admin.filters import ChoiceFilter
from jobs.errors import InvalidTarget
from jobs.models import Domain
from jobs.selectors import host_called

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django.db.models import QuerySet
    from django.http import HttpRequest

    # Generic for type checkers only.
    ModelForm = forms.ModelForm[Domain]
else:
    ModelForm = forms.ModelForm


def forgive(_request: HttpRequest, domains: Sequence[Domain]) -> Outcome:
    """Close breakers and forget penalties; what robots.txt asks for stays."""
    troubled = [domain for domain in domains if is_troubled(domain)]
    hosts = [domain.host for domain in troubled]
    Domain.objects.filter(host__in=hosts).update(
        failures=0, opened=0, penalty=0, next_at=timezone.now(), updated_at=timezone.now()
    )
    outcome = Outcome([(domain, "Breaker closed, penalty forgotten.") for domain in troubled])
    if len(troubled) < len(domains):
        outcome.left["were in no trouble"] = len(domains) - len(troubled)
    return outcome


def is_troubled(domain: Domain) -> bool:
    """Whether there is something to forgive."""
    return bool(domain.failures or domain.opened or domain.penalty)


@admin.display(description="state")
def state(domain: Domain) -> str:
    """What holds its scrapes up."""
    if domain.opened and domain.next_at > timezone.now():
        return f"breaker open until {moment(domain.next_at)}"
    if domain.opened:
        return "breaker half open: tried by one job at a time"
    if domain.penalty:
        return f"slowed down to one scrape in {domain.penalty:g} s"
    return "in trouble" if domain.failures else "well"


@admin.display(description="jobs")
def jobs(domain: Domain) -> str:
    """A link to its jobs."""
    return list_of("job", "Jobs", q=domain.host)


class TroubleFilter(ChoiceFilter):
    """By what holds scrapes up."""

    title = "state"
    parameter_name = "trouble"
    named = {"open": "Breaker open", "half": "Breaker half open", "slow": "Slowed down"}

    def narrowed(self, rows: QuerySet[Domain], value: str) -> QuerySet[Domain]:
        """What `state` says."""
        now = timezone.now()
        if value == "slow":
            return rows.filter(penalty__gt=0)
        if value == "open":
            return rows.filter(opened__gt=0, next_at__gt=now)
        return rows.filter(opened__gt=0, next_at__lte=now)


class DomainForm(ModelForm):
    """A host is spelled as in the URLs of jobs."""

    class Meta:
        model = Domain
        fields = ("host", "concurrency", "delay")
        widgets = {"host": forms.TextInput(attrs={"size": 60})}

    def clean_host(self) -> str:
        """In its canonical spelling."""
        try:
            return host_called(self.cleaned_data["host"])
        except InvalidTarget as error:
            raise forms.ValidationError(error.message) from None

    def clean_delay(self) -> float | None:
        """Not negative."""
        delay: float | None = self.cleaned_data["delay"]
        if delay is not None and not 0 <= delay <= 86_400:
            raise forms.ValidationError("A number of seconds from 0 to 86,400.")
        return delay


@admin.register(Domain)
class DomainAdmin(JobsAdmin):
    """What the fleet knows of hosts. Those without a row get the defaults."""

    form = DomainForm
    acts = (
        Act(
            "forgive",
            "Close breaker, forget penalty",
            "forgiven",
            "jobs.change_domain",
            forgive,
            is_troubled,
        ),
    )
    list_display = (
        *("host", state, "concurrency", "delay", "crawl_delay", "penalty", "failures", jobs),
    )
    list_filter = (TroubleFilter,)
    ordering = ("host",)
    search_fields = ("host__startswith",)
    search_help_text = "The beginning of a host."
    edits = ("host", "concurrency", "delay")
    shows = (
        *(state, "crawl_delay", "penalty", "failures", "opened", "next_at"),
        *("limit_reached_at", "updated_at", jobs),
    )

    def get_readonly_fields(self, request: HttpRequest, obj: Domain | None = None) -> Any:
        """A host is its row's key."""
        return ("host", *self.shows) if obj else ()

    def save_model(self, request: HttpRequest, obj: Domain, form: Any, change: bool) -> None:
        """Only what was changed: the engine writes to the row too."""
        if change:
            obj.save(update_fields=[*form.changed_data, "updated_at"])
            return
        obj.next_at = timezone.now()
        obj.save(force_insert=True)
