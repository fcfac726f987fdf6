"""The origin server as the suite has it: what it has served, and what it holds back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import requests

from tests.faults import ledger

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


class Pages:
    """The origin at `url`, which writes its ledger to `path`."""

    def __init__(self, url: str, path: Path) -> None:
        self.url = url
        self._path = path

    def ledger(self) -> list[dict[str, Any]]:
        """What it has served."""
        return ledger.read(self._path)

    def has_begun(self, tags: Iterable[str]) -> bool:
        """Whether it has had a request for each of these."""
        return {e["tag"] for e in self.ledger() if e["event"] == "begun"} >= set(tags)

    def hold(self) -> None:
        """Let `/hold/…` pages wait from now on."""
        requests.post(f"{self.url}/hold", timeout=10)

    def release(self) -> None:
        """Let them go."""
        requests.post(f"{self.url}/release", timeout=10)
