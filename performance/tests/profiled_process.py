"""A process without gevent that keeps memory and is watched, until it is told to stop."""

import os
import signal
import sys
import threading

import django

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "scraper_site.settings")
    django.setup()

    from performance.observing import start
    from performance.tests.profiled_site import forever, keep

    threading.Thread(target=forever, args=[keep], daemon=True).start()
    start("command")
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    signal.pause()
