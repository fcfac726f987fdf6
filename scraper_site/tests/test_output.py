from __future__ import annotations

import io
from typing import TYPE_CHECKING

from scraper_site.output import Output

if TYPE_CHECKING:
    import pytest


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Gone(io.StringIO):
    def write(self, _text: str) -> int:
        raise BrokenPipeError


def test_names_are_aligned() -> None:
    stream = io.StringIO()
    output = Output(stream, ["web", "postgres"])
    output.line("web", "hello")
    output.line("postgres", "hello")
    assert stream.getvalue() == "web      | hello\npostgres | hello\n"


def test_names_have_colours_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    stream = Terminal()
    Output(stream, ["web"]).line("web", "hello")
    assert stream.getvalue() == "\x1b[36mweb |\x1b[0m hello\n"


def test_no_color_is_honoured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    stream = Terminal()
    Output(stream, ["web"]).line("web", "hello")
    assert stream.getvalue() == "web | hello\n"


def test_a_reader_that_has_gone_does_no_harm() -> None:
    Output(Gone(), ["web"]).line("web", "hello")
