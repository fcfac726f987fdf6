"""What the tests share: tenants of the API, and the service's processes as a user has them."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar
from uuid import uuid4

import pytest
import requests
from django.contrib.auth.hashers import PBKDF2PasswordHasher
from django.contrib.auth.models import User

from cachelayer.tests.servers import until
from jobs.keys import generate_key
from jobs.services import create_client, install_key
from scraper_site.supervisor import LEASH

if TYPE_CHECKING:
    from jobs.models import Client

ROOT = Path(__file__).parent.parent
START_DEADLINE = 30


class QuickHasher(PBKDF2PasswordHasher):
    """The service's own way with passwords, without what makes it slow."""

    iterations = 1


@dataclass
class Tenant:
    """A client of the API with its key."""

    client: Client
    key: str
    headers: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        self.headers = {"Authorization": f"Bearer {self.key}"}


def make_tenant() -> Tenant:
    """A new tenant with an owner of its own."""
    owner = User.objects.create(username=f"user-{uuid4().hex}")
    client = create_client(owner=owner, name="default")
    key = generate_key()
    install_key(client=client, key=key)
    return Tenant(client, key)


class Service:
    """A process of the service that a test can read, signal and stop; `running` are all of them."""

    running: ClassVar[set[Service]] = set()

    def __init__(self, argv: list[str], **environment: str) -> None:
        # On the leash, so that a test run that is killed leaves no process behind.
        leash = [sys.executable, "-I", "-S", str(LEASH), str(os.getpid()), str(int(signal.SIGKILL))]
        self.process = subprocess.Popen(
            [*leash, "-", sys.executable, *argv],
            cwd=ROOT,
            env={**os.environ, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.running.add(self)
        self.lines: list[str] = []
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._changed:
                self.lines.append(line.rstrip())
                self._changed.notify_all()

    def wait_for(self, pattern: str, seconds: float = START_DEADLINE) -> re.Match[str]:
        """The first output line that matches; fails the test when none comes."""
        found: re.Match[str] | None = None

        def matches() -> bool:
            nonlocal found
            found = next((m for line in self.lines if (m := re.search(pattern, line))), None)
            return found is not None

        with self._changed:
            self._changed.wait_for(matches, timeout=seconds)
        if found is None:
            pytest.fail(f"no {pattern!r} within {seconds} s in:\n" + "\n".join(self.lines))
        return found

    def stop(self, signum: int = signal.SIGTERM, seconds: float = 40) -> int:
        """Signal the process and wait for its end; returns its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signum)
        code = self.process.wait(timeout=seconds)
        self.running.discard(self)
        self._reader.join(timeout=5)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return code


@dataclass
class Api:
    """The REST API over real HTTP, as one tenant."""

    base: str
    tenant: Tenant

    def request(self, method: str, path: str, **arguments: Any) -> requests.Response:
        """An authenticated request, whose connection ends with the answer: a server that is told
        to stop waits for those that stay.
        """
        headers = {"Connection": "close", **self.tenant.headers, **arguments.pop("headers", {})}
        return requests.request(
            method, f"{self.base}{path}", headers=headers, timeout=60, **arguments
        )

    def get(self, path: str, **arguments: Any) -> requests.Response:
        """GET."""
        return self.request("GET", path, **arguments)

    def post(self, path: str, json: Any) -> requests.Response:
        """POST of JSON."""
        return self.request("POST", path, json=json)

    def submit(self, url: str, **options: Any) -> str:
        """Submit a job; returns its id."""
        response = self.post("/api/v1/jobs", {"url": url, **options})
        assert response.status_code == 202, response.text
        return str(response.json()["id"])

    def claimed(self, job_id: str) -> None:
        """Wait until a worker has the job."""
        until(lambda: self.get(f"/api/v1/jobs/{job_id}").json()["status"] != "queued", "a claim")

    def finished(self, job_id: str) -> dict[str, Any]:
        """The job once it is terminal."""
        document: dict[str, Any] = self.get(f"/api/v1/jobs/{job_id}?wait=30").json()
        assert document["finished_at"], document
        return document
