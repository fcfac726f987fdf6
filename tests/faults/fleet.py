"""The service's own processes: web servers and workers, as many as are wanted, and their ends."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import requests

from cachelayer.tests.ports import HOST, free_ports
from tests.faults.processes import Process, until

if TYPE_CHECKING:
    from pathlib import Path

    Environment = dict[str, str]


class Fleet:
    """Web servers and workers with the environments `web` and `worker`; they log to `directory`.

    `agents` tells which worker, by process id, fetches with a User-Agent.
    """

    def __init__(self, directory: Path, *, web: Environment, worker: Environment) -> None:
        self.workers: list[Process] = []
        self.webs: dict[Process, str] = {}
        self.serving: dict[Process, str] = {}
        self.agents: dict[str, int] = {}
        self._directory = directory
        self._web = web
        self._worker = worker
        self._logs = itertools.count(1)

    def start_worker(self, *, wait: bool = True, **environment: str) -> Process:
        """Another worker; its requests for pages carry a User-Agent of its own."""
        agent = f"faults/{len(self.agents) + 1}"
        settings = {**self._worker, "HTTP_USER_AGENT": agent, **environment}
        worker = self._start("worker", ["manage.py", "runworker"], settings)
        self.workers.append(worker)
        self.agents[agent] = worker.pid
        if wait:
            worker.wait_for("ready")
        return worker

    def start_web(self, *, wait: bool = True) -> Process:
        """Another web server, which is asked as soon as `welcome` has found it serving."""
        (port,) = free_ports(1)
        argv = ["-m", "gunicorn", "-c", "python:scraper_site.gunicorn_conf"]
        web = self._start("web", [*argv, "--bind", f"{HOST}:{port}"], self._web)
        self.webs[web] = f"http://{HOST}:{port}"
        if wait:
            until(self.welcome, "the web server answers")
        return web

    def welcome(self) -> bool:
        """Note the web servers that have come up; whether all have."""
        for web, base in self.webs.items():
            if web not in self.serving and answers(f"{base}/health/live"):
                self.serving[web] = base
        return len(self.serving) == len(self.webs)

    def worker(self) -> Process:
        """The one worker that lives; others that do are ended."""
        alive = [worker for worker in self.workers if worker.is_alive]
        for surplus in alive[1:]:
            surplus.kill()
        self.workers = alive[:1]
        return alive[0] if alive else self.start_worker()

    def ensure_web(self) -> None:
        """A web server serves."""
        if not self.serving:
            self.start_web()

    def end_workers(self) -> None:
        """Stop every worker as an operator would; all must agree to that."""
        for worker in self.workers:
            worker.resume()
        codes = {worker.pid: worker.stop() for worker in self.workers if worker.is_alive}
        self.workers.clear()
        assert not any(codes.values()), f"workers did not stop in order: {codes}"

    def kill_workers(self) -> None:
        """End every worker at once: after a failure they may hang."""
        for worker in self.workers:
            worker.kill()
        self.workers.clear()

    def kill_web(self, web: Process) -> None:
        """End a web server, which nobody asks again."""
        self.serving.pop(web, None)
        web.kill()
        del self.webs[web]

    def ready_workers(self) -> list[Process]:
        """Those that have come up and not ended."""
        return [one for one in self.workers if one.is_alive and one.has_said("ready")]

    def kill_all(self) -> None:
        """End everything at once."""
        self.kill_workers()
        for web in list(self.webs):
            self.kill_web(web)

    def _start(self, role: str, argv: list[str], environment: Environment) -> Process:
        log = self._directory / f"{role}-{next(self._logs)}.log"
        return Process(argv, log, **environment)


def answers(url: str) -> bool:
    """Whether it answers 200."""
    try:
        return requests.get(url, timeout=5).status_code == 200
    except requests.RequestException:
        return False
