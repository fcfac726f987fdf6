"""The service's settings, with the views of `faulty_site` beside its own."""

from scraper_site.settings import *  # noqa: F403

ROOT_URLCONF = "performance.tests.faulty_site"
