#!/usr/bin/env python
"""Django's command line for this project."""

import argparse
import gc
import os
import sys
from pathlib import Path

from jobs.engine.memory import YOUNG_OBJECTS


def main() -> None:
    """Run the management command named on the command line."""
    # What is imported stays: looking for garbage in it would be a fifth of the start.
    gc.set_threshold(YOUNG_OBJECTS, 20, 20)
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "scraper_site.settings")
    if sys.argv[1:2] == ["up"]:
        prepare_environment(sys.argv[2:])
    from scraper_site.commands import execute

    execute(sys.argv)


def prepare_environment(arguments: list[str]) -> None:
    """Set what a fresh checkout lacks, before the settings are loaded."""
    from scraper_site.embedded import DEFAULT_DATA_DIR, EngineError, local_environment

    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--data-dir", type=Path, default=DEFAULT_DATA_DIR)
    known, _ = parser.parse_known_args(arguments)
    try:
        os.environ |= local_environment(known.data_dir)
    except EngineError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
