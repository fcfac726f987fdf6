from django.apps import AppConfig


class JobsConfig(AppConfig):
    """The product: API, engine, fetching, extraction."""

    name = "jobs"
    default_auto_field = "django.db.models.BigAutoField"
