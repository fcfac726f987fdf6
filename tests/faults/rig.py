"""The service under test with everything around it, each part a real process."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from cachelayer.tests.ports import HOST
from cachelayer.tests.servers import ValkeyProcess
from tests.faults.client import Client
from tests.faults.fleet import Fleet
from tests.faults.jobs import Jobs
from tests.faults.pages import Pages
from tests.faults.postgres import WATCH, Postgres
from tests.faults.processes import Process, until
from tests.faults.proxy import Proxy

LEASE = 3.0
CONCURRENCY = 8

# Short timeouts, so that a row need not last longer than what it shows.
WEB = {
    "WEB_CONCURRENCY": "1",
    "DB_POOL_SIZE": "4",
    "DB_POOL_TIMEOUT": "1",
    "DB_CONNECT_TIMEOUT": "1",
    "DB_STATEMENT_TIMEOUT": "3",
}
WORKER = {
    "PROCESS_ROLE": "worker",
    "WORKER_LEASE": str(LEASE),
    "WORKER_CONCURRENCY": str(CONCURRENCY),
    "DOMAIN_CONCURRENCY": "0",
}

PREPARE = """
from django.contrib.auth.models import User
from django.core.management import call_command
from jobs.keys import generate_key
from jobs.services import create_client, install_key
call_command("migrate", verbosity=0)
key = generate_key()
install_key(client=create_client(owner=User.objects.create(username="faults"), name="c"), key=key)
print(f"key={key}")
"""


class Rig:
    """Engines, proxies, origin, one web server; workers as the scenarios want them; a receiver that
    is told of every end.

    `full` is whether scenarios take their whole time. A context manager, which leaves no process
    behind and removes what it wrote unless `keep` is set.
    """

    def __init__(self, *, full: bool = False, keep: bool = False) -> None:
        self.full = full
        self.directory = Path(tempfile.mkdtemp(prefix="faults-")).resolve()
        self.postgres = Postgres(self.directory)
        self.jobs = Jobs(self.postgres)
        self.valkey = ValkeyProcess()
        self._stack = ExitStack()
        if not keep:
            self._stack.callback(shutil.rmtree, self.directory, ignore_errors=True)

    def __enter__(self) -> Self:
        with self._stack as stack:
            stack.callback(self.postgres.stop)
            self.postgres.start()
            stack.enter_context(self.valkey)
            self.worker_database = stack.enter_context(Proxy(self.postgres.socket))
            self.web_database = stack.enter_context(Proxy(self.postgres.socket))
            self.cache = stack.enter_context(Proxy((HOST, self.valkey.port), framed=False))
            self.pages = Pages(self._helper("origin"), self.directory / "origin.jsonl")
            self.receiver = self._helper("receiver")
            allowed = ",".join(urlsplit(url).netloc for url in (self.pages.url, self.receiver))
            self.fleet = Fleet(
                self.directory,
                web=self._environment(self.web_database) | WEB,
                worker=self._environment(self.worker_database)
                | WORKER
                | {"FETCH_ALLOWED_ADDRESSES": allowed},
            )
            stack.callback(self.fleet.kill_all)
            promises = self.directory / "acknowledged.jsonl"
            self.client = Client(
                self.fleet.serving, promises, key=self._prepare(), origin=self.pages.url
            )
            self.fleet.start_web()
            self.client.register(f"{self.receiver}/hook/ok/rig")
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def held_page(self) -> str:
        """A job whose fetch has begun and does not end before the pages are released."""
        self.pages.hold()
        tag = self.client.tag()
        job = self.client.submit(tag, page="hold")
        until(lambda: self.pages.has_begun([tag]), "the fetch has begun")
        return job

    def mend(self) -> None:
        """Undo what a scenario may have left broken."""
        self.postgres.mend()
        if self.valkey.process is not None and self.valkey.process.poll() is None:
            self.valkey.resume()
        else:
            self.valkey.start()
        for proxy in (self.worker_database, self.web_database, self.cache):
            proxy.flow()
        self.pages.release()

    def _environment(self, database: Proxy) -> dict[str, str]:
        return {
            "DATABASE_URL": f"postgresql://postgres@{HOST}:{database.port}/scraper",
            "REDIS_URL": f"redis://{HOST}:{self.cache.port}/0",
            "SECRET_KEY": "only-for-the-fault-suite-0123456789abcdef",
            "HTTPS": "false",
        }

    def _helper(self, name: str) -> str:
        """Start the origin or the receiver; its address."""
        argv = ["-m", f"tests.faults.{name}", "--ledger", str(self.directory / f"{name}.jsonl")]
        process = Process(argv, self.directory / f"{name}.log")
        self._stack.callback(process.kill)
        return process.wait_for(r"http://[\d.]+:\d+").group()

    def _prepare(self) -> str:
        """Migrate, watch, and make a client of the API; its key."""
        argv = ["manage.py", "shell", "--verbosity", "0", "-c", PREPARE]
        environment = self._environment(self.web_database) | {"PROCESS_ROLE": "command"}
        command = Process(argv, self.directory / "prepare.log", **environment)
        key = command.wait_for(r"key=(\S+)").group(1)
        command.process.wait(20)
        self.postgres.query(WATCH)
        return key
