"""Addresses of the console, within the admin and with its login."""

from django.contrib import admin
from django.urls import path, register_converter
from django.urls.converters import StringConverter

from performance.console import actions, alerts, captures, plans, reports, sessions, views
from performance.console.pages import PAGES


class PageSlug(StringConverter):
    """The slug of a page: other addresses at this place are of the admin's lists."""

    regex = "|".join(slug for slug in PAGES if slug)


register_converter(PageSlug, "page")

app_name = "console"
urlpatterns = [
    path("", admin.site.admin_view(views.page), name="overview"),
    path("tiles/", admin.site.admin_view(views.tiles), name="tiles"),
    path("card/<slug:name>/", admin.site.admin_view(views.card), name="card"),
    path("card/<slug:name>/<slug:table>.csv", admin.site.admin_view(views.table), name="table"),
    path("plan/<slug:kind>/<str:key>/", admin.site.admin_view(plans.plan), name="plan"),
    path("suggestions/", admin.site.admin_view(plans.suggested), name="suggestions"),
    path("alert/<int:pk>/", admin.site.admin_view(alerts.alert), name="alert"),
    path("runbook/<slug:slug>/", admin.site.admin_view(alerts.runbook), name="runbook"),
    path("session/<int:pid>/", admin.site.admin_view(sessions.session), name="session"),
    path("actions/<slug:name>/", admin.site.admin_view(actions.action), name="action"),
    path("actions/run/<uuid:run_id>/", admin.site.admin_view(actions.run), name="run"),
    path("captures/ask/", admin.site.admin_view(captures.ask), name="capture-ask"),
    path(
        "captures/finding/<int:pk>/",
        admin.site.admin_view(captures.of_finding),
        name="capture-finding",
    ),
    path("captures/<int:pk>/", admin.site.admin_view(captures.capture), name="capture"),
    path(
        "captures/<int:pk>/stacks.txt",
        admin.site.admin_view(captures.stacks),
        name="capture-stacks",
    ),
    path(
        "captures/<int:pk>/<slug:table>.csv",
        admin.site.admin_view(captures.table),
        name="capture-table",
    ),
    path("reports/ask/", admin.site.admin_view(reports.ask), name="report-ask"),
    path("reports/compared/", admin.site.admin_view(reports.compared), name="reports-compared"),
    path("reports/<int:number>/", admin.site.admin_view(reports.report), name="report"),
    path(
        "reports/<int:number>.md", admin.site.admin_view(reports.exported), name="report-markdown"
    ),
    path("<page:slug>/", admin.site.admin_view(views.page), name="page"),
]
