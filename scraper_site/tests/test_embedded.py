from __future__ import annotations

import asyncio
import os
import pwd
import shutil
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg
import dj_database_url
import psutil
import psycopg
import pytest
import redis

from scraper_site.embedded import (
    EmbeddedPostgres,
    EmbeddedValkey,
    EngineError,
    Engines,
    local_environment,
)
from scraper_site.embedded.errors import explain
from scraper_site.embedded.paths import LONGEST_SOCKET_PATH, socket_directory, wheel_directory

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scraper_site.supervisor import ProcessSpec

TIMEOUT = 20.0


@pytest.fixture(autouse=True)
def _no_servers_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DATABASE_URL")
    monkeypatch.delenv("REDIS_URL")


def engines(data_dir: Path) -> Engines:
    return Engines(data_dir, durable=False)


def value(environment: dict[str, str], query: str) -> object:
    with psycopg.connect(environment["DATABASE_URL"]) as connection:
        row = connection.execute(query.encode()).fetchone()
    return row and row[0]


def ping(environment: dict[str, str]) -> bool:
    with redis.Redis.from_url(environment["REDIS_URL"]) as client:
        return bool(client.ping())


def test_both_engines_come_up_and_answer(data_dir: Path) -> None:
    with engines(data_dir) as environment:
        assert value(environment, "SELECT current_database()") == "scraper"
        assert ping(environment)


def test_both_engines_are_gone_afterwards(data_dir: Path) -> None:
    with engines(data_dir):
        pid = int((data_dir / "postgres" / "postmaster.pid").read_text().split()[0])
    assert not psutil.pid_exists(pid)
    assert not EmbeddedValkey(data_dir).ready()


def test_postgresql_runs_with_our_settings(data_dir: Path) -> None:
    with engines(data_dir) as environment:
        assert value(environment, "SHOW shared_preload_libraries") == "pg_stat_statements"
        assert value(environment, "SHOW max_connections") == "200"
        assert value(environment, "SHOW server_encoding") == "UTF8"
        assert value(environment, "SHOW listen_addresses") == ""


def test_postgresql_is_durable_unless_told_otherwise(data_dir: Path) -> None:
    with Engines(data_dir) as environment:
        assert value(environment, "SHOW fsync") == "on"
        assert value(environment, "SHOW synchronous_commit") == "on"
        assert value(environment, "SHOW data_checksums") == "on"


def test_valkey_evicts_instead_of_growing(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CACHE_MAX_MEMORY_SIZE", "2097152")
    with engines(data_dir) as environment, redis.Redis.from_url(environment["REDIS_URL"]) as client:
        wanted = {"maxmemory": "2097152", "maxmemory-policy": "allkeys-lru", "save": ""}
        assert {name: client.config_get(name)[name] for name in wanted} == wanted


def test_a_second_start_keeps_the_data(data_dir: Path) -> None:
    with (
        engines(data_dir) as environment,
        psycopg.connect(environment["DATABASE_URL"]) as connection,
    ):
        connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
    with engines(data_dir) as environment:
        assert value(environment, "SELECT answer FROM kept") == 42


def test_a_database_that_was_dropped_is_made_again(data_dir: Path) -> None:
    with engines(data_dir) as environment:
        url = environment["DATABASE_URL"].replace("/scraper?", "/postgres?")
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("DROP DATABASE scraper")
    with engines(data_dir) as environment:
        assert value(environment, "SELECT 1") == 1


def test_every_client_accepts_the_addresses(data_dir: Path) -> None:
    place = data_dir / "a place & more"
    with engines(place) as environment:
        url = environment["DATABASE_URL"]
        assert dj_database_url.parse(url)["OPTIONS"] == {"host": str(place / "sockets")}
        assert value(environment, "SELECT 1") == 1
        assert asyncio.run(_asyncpg_value(url)) == 1
        assert ping(environment)


async def _asyncpg_value(url: str) -> object:
    connection = await asyncpg.connect(dsn=url)
    try:
        return await connection.fetchval("SELECT 1")
    finally:
        await connection.close()


def test_a_deep_data_directory_works(data_dir: Path) -> None:
    deep = data_dir / ("d" * 60) / ("e" * 60)
    with engines(deep) as environment:
        assert value(environment, "SELECT 1") == 1
        assert ping(environment)
    shutil.rmtree(socket_directory(deep))


def test_sockets_of_a_deep_directory_are_short_and_always_at_the_same_place() -> None:
    deep = Path("/" + "d" * 120)
    assert socket_directory(deep) == socket_directory(deep)
    assert socket_directory(deep) != socket_directory(Path("/" + "d" * 121))
    assert len(str(socket_directory(deep) / ".s.PGSQL.5432")) <= LONGEST_SOCKET_PATH


def test_only_their_owner_can_reach_the_sockets(data_dir: Path) -> None:
    with engines(data_dir):
        assert stat.S_IMODE((data_dir / "sockets").stat().st_mode) == 0o700


def test_a_socket_directory_that_somebody_else_made_is_refused(data_dir: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can make a directory of somebody else")
    (data_dir / "sockets").mkdir()
    os.chown(data_dir / "sockets", pwd.getpwnam("nobody").pw_uid, -1)
    with pytest.raises(EngineError, match="is not ours"), engines(data_dir):
        pass


@pytest.fixture
def left_over(data_dir: Path) -> Iterator[list[psutil.Process]]:
    """Both servers, running on the directory without anybody who looks after them."""
    with engines(data_dir):
        pass
    postgres, valkey = EmbeddedPostgres(data_dir, durable=False), EmbeddedValkey(data_dir)
    processes = []
    for engine in (postgres, valkey):
        engine.prepare()
        processes.append(start_alone(engine.command()))
    while not (postgres.ready() and valkey.ready()):
        assert all(process.poll() is None for process in processes)
    yield [psutil.Process(process.pid) for process in processes]
    for process in processes:
        process.kill()
        process.wait()


def start_alone(spec: ProcessSpec) -> subprocess.Popen[bytes]:
    uid, gid = spec.account or (None, None)
    return subprocess.Popen(
        spec.argv,
        env=spec.env,
        cwd=spec.cwd,
        user=uid,
        group=gid,
        extra_groups=None if uid is None else [],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def test_servers_left_over_from_a_killed_run_are_replaced(
    data_dir: Path, left_over: list[psutil.Process]
) -> None:
    with engines(data_dir) as environment:
        assert value(environment, "SELECT 1") == 1
        assert ping(environment)
        assert all(process.status() == psutil.STATUS_ZOMBIE for process in left_over)


def test_a_pid_file_that_names_another_process_is_no_obstacle(data_dir: Path) -> None:
    with engines(data_dir):
        pass
    (data_dir / "postgres" / "postmaster.pid").write_text(f"{os.getpid()}\n")
    with engines(data_dir) as environment:
        assert value(environment, "SELECT 1") == 1


def test_engines_of_a_live_owner_are_used_and_left_running(data_dir: Path) -> None:
    with engines(data_dir) as environment:
        with engines(data_dir) as shared:
            assert shared == environment
        assert value(environment, "SELECT 1") == 1


def test_a_url_from_outside_replaces_its_engine(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://elsewhere/scraper")
    with engines(data_dir) as environment:
        assert set(environment) == {"REDIS_URL"}
        assert not (data_dir / "postgres").exists()


def test_an_engine_that_cannot_start_says_why_and_leaves_nothing(data_dir: Path) -> None:
    with engines(data_dir):
        pass
    (data_dir / "postgres" / "PG_VERSION").write_text("9.6\n")
    with pytest.raises(EngineError, match=r"(?s)postgres exited.*incompatible.*data is in"):
        engines(data_dir).__enter__()
    assert not EmbeddedValkey(data_dir).ready()


def test_a_full_disk_is_explained() -> None:
    lines = ["could not write: No space left on device", *("more talk" for _ in range(9))]
    assert "`df -h /data`" in str(explain("It failed:", lines, Path("/data")))


def test_a_file_in_the_way_is_explained(data_dir: Path) -> None:
    (data_dir / "file").touch()
    with pytest.raises(EngineError, match="Not a directory"):
        local_environment(data_dir / "file" / "below")


def test_a_missing_wheel_is_explained() -> None:
    with pytest.raises(EngineError, match=r"pip install -r requirements-embedded\.txt"):
        wheel_directory("no_such_wheel")


def test_the_secret_key_is_made_once_and_private(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SECRET_KEY")
    key = local_environment(data_dir)["SECRET_KEY"]
    assert len(key) >= 50
    assert local_environment(data_dir)["SECRET_KEY"] == key
    assert stat.S_IMODE((data_dir / "secret_key").stat().st_mode) == 0o600


def test_the_local_environment_leaves_alone_what_is_set(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://elsewhere/scraper")
    monkeypatch.setenv("SECRET_KEY", "x" * 50)
    assert set(local_environment(data_dir)) == {"REDIS_URL"}


def run_module(data_dir: Path, *command: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [
            sys.executable,
            "-m",
            "scraper_site.embedded",
            "--data-dir",
            str(data_dir),
            "--",
            *command,
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_the_module_runs_a_command_and_exits_with_its_code(data_dir: Path) -> None:
    with run_module(data_dir, "sh", "-c", "echo $DATABASE_URL; exit 7") as process:
        output, _ = process.communicate(timeout=TIMEOUT)
    assert output.strip() == EmbeddedPostgres(data_dir).url
    assert process.returncode == 7


def test_the_module_stops_the_engines_when_it_is_told_to_stop(data_dir: Path) -> None:
    with run_module(data_dir, "sh", "-c", "echo started; read line") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "started\n"
        process.terminate()
        process.wait(TIMEOUT)
    assert not EmbeddedValkey(data_dir).ready()


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's parent death signal")
def test_no_engine_outlives_a_killed_owner(data_dir: Path) -> None:
    with run_module(data_dir, "sh", "-c", "echo started; read line") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "started\n"
        running = psutil.Process(process.pid).children(recursive=True)
        assert {"postgres", "valkey-server"} <= {child.name() for child in running}
        process.send_signal(signal.SIGKILL)
    _, alive = psutil.wait_procs(running, timeout=TIMEOUT)
    assert not alive


def test_valkey_listens_on_its_socket_only(data_dir: Path) -> None:
    with engines(data_dir), socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(EmbeddedValkey(data_dir).socket))
        connection.sendall(b"CONFIG GET port\r\n")
        assert b"$1\r\n0\r\n" in connection.recv(256)
