"""`python -m scraper_site.embedded [--data-dir DIR] -- COMMAND…`: run it beside the engines."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
from pathlib import Path

from scraper_site.embedded.engines import Engines, local_environment
from scraper_site.embedded.errors import EngineError
from scraper_site.embedded.paths import DEFAULT_DATA_DIR


def main() -> int:
    """Run the command; its exit code is ours."""
    parser = argparse.ArgumentParser(prog="python -m scraper_site.embedded")
    parser.add_argument("--data-dir", type=Path, default=DEFAULT_DATA_DIR)
    parser.add_argument("command", nargs="+")
    options = parser.parse_args()
    # As an exception it unwinds through the engines' stop.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        environment = local_environment(options.data_dir)
        with Engines(options.data_dir):
            return _run(options.command, os.environ | environment)
    except EngineError as error:
        sys.stderr.write(f"{error}\n")
        return 1


def _run(command: list[str], environment: dict[str, str]) -> int:
    try:
        process = subprocess.Popen(command, env=environment)
    except OSError as error:
        sys.stderr.write(f"{command[0]}: {error.strerror}\n")
        return 127
    try:
        return process.wait()
    except KeyboardInterrupt:
        return process.wait()
    finally:
        process.terminate()
        process.wait()


if __name__ == "__main__":
    sys.exit(main())
