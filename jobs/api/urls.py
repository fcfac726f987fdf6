"""The API's paths, below `/api/v1/`."""

from django.urls import path

from jobs.api import actions, schedules, views
from jobs.api.webhooks import views as webhooks

urlpatterns = [
    path("jobs", views.JobsView.as_view()),
    path("jobs/stats", views.JobStatisticsView.as_view()),
    path("jobs/<uuid:job_id>", views.JobView.as_view()),
    path("jobs/<uuid:job_id>/result", views.ResultView.as_view()),
    path("jobs/<uuid:job_id>/timeline", views.TimelineView.as_view()),
    path("jobs/<uuid:job_id>/cancel", actions.JobCancelView.as_view()),
    path("jobs/<uuid:job_id>/retry", actions.JobRetryView.as_view()),
    path("batches", views.BatchesView.as_view()),
    path("batches/<uuid:batch_id>", views.BatchView.as_view()),
    path("batches/<uuid:batch_id>/cancel", actions.BatchCancelView.as_view()),
    path("batches/<uuid:batch_id>/retry", actions.BatchRetryView.as_view()),
    path("batches/<uuid:batch_id>/results", views.BatchResultsView.as_view()),
    path("schedules", schedules.SchedulesView.as_view()),
    path("schedules/<uuid:schedule_id>", schedules.ScheduleView.as_view()),
    path("webhooks", webhooks.WebhooksView.as_view()),
    path("webhooks/<uuid:webhook_id>", webhooks.WebhookView.as_view()),
    path("webhooks/<uuid:webhook_id>/rotate", webhooks.WebhookRotationView.as_view()),
    path("webhooks/<uuid:webhook_id>/deliveries", webhooks.DeliveriesView.as_view()),
    path(
        "webhooks/<uuid:webhook_id>/deliveries/<uuid:delivery_id>",
        webhooks.DeliveryView.as_view(),
    ),
    path(
        "webhooks/<uuid:webhook_id>/deliveries/<uuid:delivery_id>/replay",
        webhooks.DeliveryReplayView.as_view(),
    ),
]
