"""URLs of the whole service."""

from __future__ import annotations

from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView
from drf_spectacular.views import SpectacularSwaggerView

from jobs.api.views import SchemaView

admin.site.site_header = "Scraping jobs"
admin.site.site_title = "Scraping jobs"

handler404 = "jobs.api.errors.not_found"

urlpatterns = [
    path("", RedirectView.as_view(url="/api/docs/")),
    path("admin/performance/silk/", include("silk.urls", namespace="silk")),
    path("admin/performance/", include("performance.console.urls", namespace="console")),
    path("admin/", admin.site.urls),
    path("api/v1/", include("jobs.api.urls")),
    path("api/v1/performance/", include("performance.api.urls")),
    path("api/schema/", SchemaView.as_view(), name="schema"),
    path("api/docs/", SpectacularSwaggerView.as_view(url_name="schema"), name="docs"),
]
