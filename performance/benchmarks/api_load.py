"""Requests to the API as clients' programs send them: jobs are submitted, and asked for."""

from __future__ import annotations

import http.client
import threading
from time import perf_counter
from urllib.parse import urlsplit

import orjson

CONNECTIONS = 4
JOB = orjson.dumps({"url": "http://127.0.0.1:9/page"})


def job(url: str) -> bytes:
    """The body that submits it."""
    return orjson.dumps({"url": url})


def send(base: str, headers: dict[str, str], requests: int, body: bytes = JOB) -> list[float]:
    """Submit jobs and ask for each, by one connection; returns what each request took, in s."""
    connection = http.client.HTTPConnection(urlsplit(base).netloc, timeout=60)
    times = []
    path = ""
    for number in range(requests):
        began = perf_counter()
        if number % 2:
            connection.request("GET", path, headers=headers)
        else:
            connection.request("POST", "/api/v1/jobs", body, headers)
        response = connection.getresponse()
        answer = response.read()
        times.append(perf_counter() - began)
        if response.status not in (200, 202):
            raise RuntimeError(f"{response.status}: {answer[:200]!r}")
        path = f"/api/v1/jobs/{orjson.loads(answer)['id']}"
    connection.close()
    return times


def send_at_once(base: str, headers: dict[str, str], requests: int) -> list[float]:
    """The same by CONNECTIONS at once, each its share. Raises RuntimeError when one fails."""
    times: list[float] = []
    share = requests // CONNECTIONS
    threads = [
        threading.Thread(target=lambda: times.extend(send(base, headers, share)))
        for _ in range(CONNECTIONS)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if len(times) < share * CONNECTIONS:
        raise RuntimeError("requests failed: see the web server's output")
    return times
