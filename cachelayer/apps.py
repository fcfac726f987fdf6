from django.apps import AppConfig


class CacheLayerConfig(AppConfig):
    """A two-level cache; imports nothing of this project."""

    name = "cachelayer"
