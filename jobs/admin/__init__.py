"""Jobs in the Django admin: to look at, and to act on. What changes a job goes through services."""

from jobs.admin import batches, clients, domains, duties, jobs, schedules, webhooks

__all__ = ["batches", "clients", "domains", "duties", "jobs", "schedules", "webhooks"]
