"""Addresses of the console, within the admin and with its login."""

from django.contrib import admin
from django.urls import path

from performance.console import views

app_name = "console"
urlpatterns = [
    path("", admin.site.admin_view(views.page), name="overview"),
    path("card/<slug:name>/", admin.site.admin_view(views.card), name="card"),
    path("card/<slug:name>/<slug:table>.csv", admin.site.admin_view(views.table), name="table"),
    path("<slug:slug>/", admin.site.admin_view(views.page), name="page"),
]
