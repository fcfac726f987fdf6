"""Fetching what strangers name, safely: the URL check, the address guard and the client."""

from jobs.fetching.client import DEFAULT_MAX_BYTES, MAX_REDIRECTS, Fetcher, Page
from jobs.fetching.guard import AddressPolicy, AllowedTarget
from jobs.fetching.robots import RobotsRules, fetch_robots, origin_of, parse_robots
from jobs.fetching.urls import MAX_URL_LENGTH, check_url

__all__ = [
    "DEFAULT_MAX_BYTES",
    "MAX_REDIRECTS",
    "MAX_URL_LENGTH",
    "AddressPolicy",
    "AllowedTarget",
    "Fetcher",
    "Page",
    "RobotsRules",
    "check_url",
    "fetch_robots",
    "origin_of",
    "parse_robots",
]
