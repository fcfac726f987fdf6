"""What a boot check is, and the list of all of them."""

from __future__ import annotations

from inspect import getdoc
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

WEB = ("web",)
WORKER = ("worker",)


class Check(NamedTuple):
    """`look` in processes of these roles; `advice` says what to do when it finds something."""

    part: str
    look: Callable[[], str]
    advice: str
    roles: tuple[str, ...]

    @property
    def name(self) -> str:
        """Its name, which is the function's."""
        return self.look.__name__

    @property
    def why(self) -> str:
        """What would happen: the first paragraph of the function's docstring."""
        return (getdoc(self.look) or "").partition("\n\n")[0].replace("\n", " ")


CHECKS: list[Check] = []


def check(
    part: str, advice: str, *, roles: tuple[str, ...] = WEB + WORKER
) -> Callable[[Callable[[], str]], Callable[[], str]]:
    """Make a function a check."""

    def register(look: Callable[[], str]) -> Callable[[], str]:
        CHECKS.append(Check(part, look, advice, roles))
        return look

    return register
