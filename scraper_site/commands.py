"""The command line: Django's, but that commands of the project are watched while they run."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

from django.core.management import ManagementUtility

from scraper_site.env import environment

if TYPE_CHECKING:
    from django.core.management.base import BaseCommand

APPS = {"cachelayer", "jobs", "performance", "scraper_site"}
# Those that go on for long: servers watch themselves, and of benchmarks only the figures count.
UNWATCHED = {"benchmark", "runworker", "up"}


class CommandLine(ManagementUtility):
    """Runs one command; what is watched ends with `until_end`."""

    def __init__(self, argv: list[str], until_end: ExitStack) -> None:
        """`argv` is the process's."""
        super().__init__(argv)
        self._until_end = until_end

    def fetch_command(self, subcommand: str) -> BaseCommand:
        """The command, which is watched from here on."""
        command = super().fetch_command(subcommand)
        if is_watched(subcommand, command):
            # Not before the settings are known.
            from performance.recorders.commands import watched

            self._until_end.enter_context(watched(subcommand))
        return command


def is_watched(name: str, command: BaseCommand) -> bool:
    """Whether it is one of ours that does something and ends, in a process that is a command."""
    app = type(command).__module__.partition(".")[0]
    if app not in APPS or name in UNWATCHED:
        return False
    return environment().performance_enabled and environment().process_role == "command"


def execute(argv: list[str]) -> None:
    """Run the command named there; it exits as Django's does."""
    with ExitStack() as until_end:
        CommandLine(argv, until_end).execute()
