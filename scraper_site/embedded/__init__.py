"""PostgreSQL and Valkey from wheels, run as children on Unix sockets below one directory.

Imports neither Django nor psycopg: it runs before the settings can be loaded.
"""

from scraper_site.embedded.engines import Engines, local_environment
from scraper_site.embedded.errors import EngineError
from scraper_site.embedded.paths import DEFAULT_DATA_DIR
from scraper_site.embedded.postgres import EmbeddedPostgres
from scraper_site.embedded.valkey import EmbeddedValkey

__all__ = [
    "DEFAULT_DATA_DIR",
    "EmbeddedPostgres",
    "EmbeddedValkey",
    "EngineError",
    "Engines",
    "local_environment",
]
