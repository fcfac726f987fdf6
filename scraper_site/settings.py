"""Django's settings, all derived from `scraper_site.env`."""

from __future__ import annotations

import os
from operator import attrgetter
from pathlib import Path
from typing import Any

import dj_database_url

from scraper_site.env import environment

env = environment()
BASE_DIR = Path(__file__).resolve().parent.parent

SECRET_KEY = env.secret_key.get_secret_value()
DEBUG = env.debug
ALLOWED_HOSTS = list(env.allowed_hosts)
CSRF_TRUSTED_ORIGINS = list(env.csrf_trusted_origins)

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.postgres",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "django_htmx",
    "silk",
    "scraper_site",
    "performance",
    "jobs",
    "cachelayer",
]

MIDDLEWARE = [
    "scraper_site.health.HealthMiddleware",
    "performance.middleware.RequestsMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

ROOT_URLCONF = "scraper_site.urls"
WSGI_APPLICATION = "scraper_site.wsgi.application"
APPEND_SLASH = True

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

# Only web processes pool: a command or a worker uses one Django connection at most, and opening
# DB_POOL_SIZE of them for a `manage.py migrate` would eat the server's budget.
_pool: bool | dict[str, object] = False
if env.process_role == "web":
    _pool = {
        "min_size": env.db_pool_size,
        "max_size": env.db_pool_size + env.db_max_overflow,
        "timeout": env.db_pool_timeout,
        "max_lifetime": env.db_pool_recycle,
        "max_waiting": 4 * (env.db_pool_size + env.db_max_overflow),
    }

DATABASES: dict[str, dict[str, Any]] = {
    "default": {
        **dj_database_url.parse(env.database_url),
        "ENGINE": "scraper_site.postgresql",
        "CONN_MAX_AGE": 0,
        "CONN_HEALTH_CHECKS": True,
        "DISABLE_SERVER_SIDE_CURSORS": True,
    }
}
DATABASES["default"]["OPTIONS"] = {
    **DATABASES["default"].get("OPTIONS", {}),
    "pool": _pool,
    "application_name": f"scraper/{env.process_role}/{os.getpid()}",
    "connect_timeout": env.db_connect_timeout,
    "options": (
        f"-c statement_timeout={env.db_statement_timeout}s"
        f" -c idle_in_transaction_session_timeout={env.db_idle_in_transaction_timeout}s"
        " -c jit=off"
    ),
}
DB_CONNECT_RETRY = env.db_connect_retry
DB_STATEMENT_TIMEOUT = env.db_statement_timeout
DB_CONNECT_TIMEOUT = env.db_connect_timeout
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

REDIS_POOL: dict[str, Any] = {
    "max_connections": env.redis_max_connections,
    "health_check_interval": env.redis_health_check_interval,
}
DJANGO_REDIS_CONNECTION_FACTORY = "cachelayer.pools.ConnectionFactory"
CACHES = {
    "default": {
        "BACKEND": "django_redis.cache.RedisCache",
        "LOCATION": env.redis_url,
        "TIMEOUT": env.cache_default_ttl,
        "KEY_PREFIX": "scraper",
        "OPTIONS": {
            "CLIENT_CLASS": "cachelayer.pools.CacheClient",
            # Whoever can write to Valkey could run code in our processes if this were pickle.
            "SERIALIZER": "django_redis.serializers.json.JSONSerializer",
            "CONNECTION_POOL_KWARGS": REDIS_POOL,
        },
    }
}

CACHELAYER = {
    "alias": "default",
    "prefix": "scraper",
    "local_max_bytes": env.cache_max_memory_size,
    "default_ttl": env.cache_default_ttl,
}

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]

LANGUAGE_CODE = "en-gb"
TIME_ZONE = "UTC"
USE_TZ = True
USE_I18N = False

STATIC_URL = "static/"
# Served straight from the installed packages: no collecting step between a checkout and a start.
WHITENOISE_USE_FINDERS = True
WHITENOISE_AUTOREFRESH = False

SECURE_SSL_REDIRECT = env.https
SECURE_HSTS_SECONDS = 31_536_000 if env.https else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = env.https
SECURE_HSTS_PRELOAD = env.https
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if env.https else None
SESSION_COOKIE_SECURE = env.https
CSRF_COOKIE_SECURE = env.https
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
DATA_UPLOAD_MAX_MEMORY_SIZE = 2_621_440

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["jobs.api.auth.BearerAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["jobs.api.auth.HasScope"],
    "DEFAULT_RENDERER_CLASSES": ["jobs.api.renderers.ORJSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["jobs.api.parsers.JSONBodyParser"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "jobs.api.errors.problem_response",
    "UNAUTHENTICATED_USER": None,
}

SPECTACULAR_SETTINGS = {
    "TITLE": "Scraping jobs",
    "DESCRIPTION": "Submit URLs with an extraction spec, collect structured results.",
    "VERSION": "1",
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_PUBLIC": True,
    "SERVE_AUTHENTICATION": [],
    "SERVE_PERMISSIONS": ["rest_framework.permissions.AllowAny"],
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "SCHEMA_PATH_PREFIX": "/api/v1",
    "ENUM_NAME_OVERRIDES": {
        "JobStatus": ["queued", "running", "succeeded", "failed", "cancelled"],
        "BatchStatus": ["running", "completed"],
        "DeliveryStatus": ["pending", "delivered", "given_up"],
    },
}

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(levelname)s %(name)s: %(message)s"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["console"], "level": env.log_level},
}

PERFORMANCE: dict[str, Any] = {
    "enabled": env.performance_enabled,
    "most_cost": env.performance_most_cost,
    "metrics_host": env.bind_host,
    "metrics_port": env.metrics_port,
    "revision": env.revision,
    "alert_rules": {
        name: changes.model_dump(exclude_unset=True) for name, changes in env.alert_rules.items()
    },
    "mail_from": env.email_from if env.email_host else "",
    "public_url": env.public_url,
}

EMAIL_HOST = env.email_host
EMAIL_PORT = env.email_port
EMAIL_HOST_USER = env.email_user
EMAIL_HOST_PASSWORD = env.email_password.get_secret_value()
EMAIL_USE_TLS = env.email_security == "starttls"
EMAIL_USE_SSL = env.email_security == "tls"
# Nobody waits for a mail server for long: what did not work is tried again.
EMAIL_TIMEOUT = 10

# django-silk keeps and shows the requests that somebody had captured (`performance.profiling`). Its
# own middleware, should anybody add it, records nothing.
LOGIN_URL = "admin:login"
SILKY_MIDDLEWARE_CLASS = "performance.middleware.RequestsMiddleware"
SILKY_AUTHENTICATION = True
SILKY_AUTHORISATION = True
SILKY_PERMISSIONS = attrgetter("is_superuser")
SILKY_INTERCEPT_PERCENT = 0
SILKY_PYTHON_PROFILER = False
SILKY_ANALYZE_QUERIES = False
SILKY_MAX_REQUEST_BODY_SIZE = 0
SILKY_MAX_RESPONSE_BODY_SIZE = 0
SILKY_MAX_RECORDED_REQUESTS_CHECK_PERCENT = 0

JOBS: dict[str, Any] = {
    "default_timeout": env.http_timeout,
    "default_max_attempts": env.http_max_retries + 1,
    "max_connections": env.http_max_connections,
    "user_agent": env.http_user_agent,
    "max_body_size": env.http_max_body_size,
    "allowed_addresses": env.fetch_allowed_addresses,
    "domain_concurrency": env.domain_concurrency,
    "domain_delay": env.domain_delay,
    "client_concurrency": env.client_concurrency,
    "crash_limit": env.crash_limit,
    "worker_concurrency": env.worker_concurrency,
    "bind_host": env.bind_host,
    "worker_health_port": env.worker_health_port,
    "lease": env.worker_lease,
    "drain_timeout": env.worker_drain_timeout,
    "off_peak_hours": env.off_peak_hours,
    "off_peak_timezone": env.off_peak_timezone,
    "result_retention_days": env.result_retention_days,
    "history_retention_days": env.history_retention_days,
}
