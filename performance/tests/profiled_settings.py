"""The service's settings, with the views of `profiled_site` beside its own."""

from scraper_site.settings import *  # noqa: F403

ROOT_URLCONF = "performance.tests.profiled_site"
