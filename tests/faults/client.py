"""A client of the API that writes down what the service has promised it."""

from __future__ import annotations

import itertools
import os
import random
import threading
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import requests

from tests.faults import ledger

if TYPE_CHECKING:
    from pathlib import Path

    from tests.faults.processes import Process

TIMEOUT = 30.0


class Client:
    """Submits jobs and keeps a ledger of those that were acknowledged; for any thread."""

    def __init__(
        self, serving: dict[Process, str], promises: Path, *, key: str, origin: str
    ) -> None:
        """`serving` changes as web servers come and go; `promises` is where the ledger is."""
        self._serving = serving
        self._path = promises
        self._acknowledged = ledger.Writer(promises)
        self._headers = {"Authorization": f"Bearer {key}"}
        self._origin = origin
        self._tags = itertools.count(1)
        self._run = os.urandom(4).hex()
        self._local = threading.local()

    def acknowledged(self) -> list[dict[str, Any]]:
        """Every promise: `id`, `tag` and, when one was sent, the idempotency `key`."""
        return ledger.read(self._path)

    def tag(self) -> str:
        """A name that no other page has."""
        return f"{self._run}-{next(self._tags)}"

    def post(
        self, tag: str, *, page: str = "page", key: str = "", options: Any = None, **query: Any
    ) -> requests.Response:
        """Ask for a job that scrapes the origin's page of that tag; raises RequestException."""
        body = {
            "url": self._url(page, tag, query),
            "formats": ["text", "metadata"],
            "max_attempts": 10,
            **(options or {}),
        }
        headers = {}
        if key:
            headers["Idempotency-Key"] = key
            body["metadata"] = {"key": key}
        response = self.request("POST", "/api/v1/jobs", json=body, headers=headers)
        if response.status_code == 202:
            self._acknowledged.write(id=response.json()["id"], tag=tag, key=key)
        return response

    def submit(self, tag: str = "", **arguments: Any) -> str:
        """The id of a job that was accepted."""
        response = self.post(tag or self.tag(), **arguments)
        assert response.status_code == 202, response.text
        return str(response.json()["id"])

    def post_batch(self, tags: list[str], *, page: str = "page", **query: Any) -> requests.Response:
        """Ask for a job for each tag, all or none; raises RequestException."""
        body = {
            "urls": [self._url(page, tag, query) for tag in tags],
            "formats": ["text"],
            "max_attempts": 10,
        }
        response = self.request("POST", "/api/v1/batches", json=body)
        if response.status_code == 202:
            for job, tag in zip(response.json()["jobs"], tags, strict=True):
                self._acknowledged.write(id=job, tag=tag, key="")
        return response

    def submit_batch(self, tags: list[str], **arguments: Any) -> list[str]:
        """The ids of the jobs of a batch that was accepted."""
        response = self.post_batch(tags, **arguments)
        assert response.status_code == 202, response.text
        jobs: list[str] = response.json()["jobs"]
        return jobs

    def register(self, url: str) -> dict[str, Any]:
        """A webhook endpoint that is told of every end of a job, with its secret."""
        events = ["job.succeeded", "job.failed", "job.cancelled"]
        response = self.request("POST", "/api/v1/webhooks", json={"url": url, "events": events})
        assert response.status_code == 201, response.text
        endpoint: dict[str, Any] = response.json()
        return endpoint

    def get(self, path: str) -> requests.Response:
        """GET."""
        return self.request("GET", path)

    def request(
        self, method: str, path: str, *, headers: dict[str, str] | None = None, **arguments: Any
    ) -> requests.Response:
        """An authenticated request to one of the web servers; raises RequestException."""
        bases = list(self._serving.values())
        if not bases:
            raise requests.ConnectionError("no web server lives")
        return self._session().request(
            method,
            f"{random.choice(bases)}{path}",
            headers={**self._headers, **(headers or {})},
            timeout=TIMEOUT,
            **arguments,
        )

    def _url(self, page: str, tag: str, query: dict[str, Any]) -> str:
        return f"{self._origin}/{page}/{tag}?{urlencode({'try': 1, **query})}"

    def _session(self) -> requests.Session:
        if not hasattr(self._local, "session"):
            self._local.session = requests.Session()
        session: requests.Session = self._local.session
        return session
