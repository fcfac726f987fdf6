"""Run a command that is told to stop when its parent dies, as another user if asked.

`leash.py PARENT_PID SIGNAL UID:GID|- COMMAND…`, a script that `scraper_site.supervisor` starts
with a bare interpreter: between fork and exec of a threaded parent none of this would be safe.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    """Become the command."""
    parent, death_signal, account, *command = sys.argv[1:]
    if account != "-":
        uid, gid = (int(number) for number in account.split(":"))
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    if sys.platform == "linux":
        # After the change of user, which clears it.
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(death_signal))
        if os.getppid() != int(parent):
            sys.exit("the process that started this one is gone")
    # The supervisor starts children with its own signals held back.
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    try:
        os.execvp(command[0], command)  # noqa: S606
    except OSError as error:
        sys.exit(f"cannot run {command[0]}: {error.strerror}")


if __name__ == "__main__":
    main()
