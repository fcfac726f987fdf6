from django.apps import AppConfig


class JobsConfig(AppConfig):
    """The product: API, engine, fetching, extraction."""

    name = "jobs"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Connect the caches to what they depend on."""
        from jobs import warming  # noqa: F401  registers its warmers
        from jobs.caching import connect

        connect()
