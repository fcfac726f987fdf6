"""Which keys this process has loaded before, about: a load again is one that a cache can save."""

from __future__ import annotations

from array import array

# Of 8 bytes each.
PLACES = 65_536


class Loaded:
    """Remembers each key by its hash, in one place of many: the latest of a place is known.

    Nothing is locked: of two threads that load at once, one may not be remembered.
    """

    def __init__(self) -> None:
        """Nothing yet."""
        self._hashes = array("q", bytes(8 * PLACES))

    def again(self, key: str) -> bool:
        """Whether it was loaded before; it is, from now on."""
        found = hash(key)
        place = found % PLACES
        is_known = self._hashes[place] == found
        self._hashes[place] = found
        return is_known
