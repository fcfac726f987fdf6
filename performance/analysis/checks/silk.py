"""Traps in django-silk: its tables and pages are used, and it is to do nothing by itself."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from silk.config import SilkyConfig

from performance.analysis.checks.check import WEB, check

PART = "django-silk"


@check(PART, "Take SilkyMiddleware out of MIDDLEWARE: captures do without it.", roles=WEB)
def silk_is_in_the_middleware() -> str:
    """What it records once has every later query of the process compiled twice and explained."""
    is_there = any("SilkyMiddleware" in name for name in settings.MIDDLEWARE)
    return "SilkyMiddleware is installed" if is_there else ""


@check(PART, "Leave SILKY_INTERCEPT_PERCENT at 0 and SILKY_INTERCEPT_FUNC unset.", roles=WEB)
def silk_records_unasked() -> str:
    """Its middleware would write several times in every request, while somebody waits."""
    percent = _setting("SILKY_INTERCEPT_PERCENT")
    if _setting("SILKY_INTERCEPT_FUNC"):
        return "SILKY_INTERCEPT_FUNC decides what is recorded"
    return f"SILKY_INTERCEPT_PERCENT is {percent}" if percent else ""


@check(PART, "Leave SILKY_PYTHON_PROFILER off: ask for a capture of the process.", roles=WEB)
def silk_profiles_python() -> str:
    """cProfile traces every call, and a thread has room for one: other greenlets' are mixed in."""
    names = ("SILKY_PYTHON_PROFILER", "SILKY_PYTHON_PROFILER_FUNC")
    return next((f"{name} is set" for name in names if _setting(name)), "")


@check(PART, "Leave SILKY_ANALYZE_QUERIES off: the console runs a query when asked.", roles=WEB)
def silk_runs_queries_twice() -> str:
    """Each query that it records would be run a second time, to be explained."""
    return "SILKY_ANALYZE_QUERIES is on" if _setting("SILKY_ANALYZE_QUERIES") else ""


@check(PART, "Leave SILKY_MAX_RECORDED_REQUESTS_CHECK_PERCENT at 0: we clean up.", roles=WEB)
def silk_cleans_up_in_requests() -> str:
    """Whoever draws the lot has old records removed in his request, and waits for it."""
    name = "SILKY_MAX_RECORDED_REQUESTS_CHECK_PERCENT"
    return f"{name} is {_setting(name)}" if _setting(name) else ""


@check(PART, "Leave SILKY_MAX_REQUEST_BODY_SIZE at 0.", roles=WEB)
def silk_keeps_what_was_sent() -> str:
    """Bodies of requests have passwords and keys, and would be kept in plain text."""
    return _kept("SILKY_MAX_REQUEST_BODY_SIZE")


@check(PART, "Leave SILKY_MAX_RESPONSE_BODY_SIZE at 0.", roles=WEB)
def silk_keeps_answers() -> str:
    """Answers have clients' results, and would be kept in plain text."""
    return _kept("SILKY_MAX_RESPONSE_BODY_SIZE")


@check(PART, "Leave SILKY_AUTHENTICATION on.", roles=WEB)
def silk_asks_for_no_login() -> str:
    """Anybody who knows the address would read what was captured."""
    return "" if _setting("SILKY_AUTHENTICATION") else "SILKY_AUTHENTICATION is off"


@check(PART, "Leave SILKY_AUTHORISATION on.", roles=WEB)
def silk_asks_for_no_permission() -> str:
    """Anybody with any account would read what was captured."""
    return "" if _setting("SILKY_AUTHORISATION") else "SILKY_AUTHORISATION is off"


@check(PART, "Let SILKY_PERMISSIONS ask for a superuser.", roles=WEB)
def silk_is_open_to_staff() -> str:
    """Queries are shown with their values, and files of the project: not for all of the staff."""
    allows = _setting("SILKY_PERMISSIONS")
    return "SILKY_PERMISSIONS lets all staff in" if allows(get_user_model()(is_staff=True)) else ""


def _kept(name: str) -> str:
    size = _setting(name)
    return f"{name} is {'unlimited' if size < 0 else size}" if size else ""


def _setting(name: str) -> Any:
    """As silk has it, which takes its own default for what is not set."""
    return getattr(settings, name, SilkyConfig.defaults[name])
