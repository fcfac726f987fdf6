"""Structured records, text, links and metadata from HTML; knows no database and no network."""

from jobs.extraction.css import Extractor, compile_spec
from jobs.extraction.empty import check_result
from jobs.extraction.page import FORMATS, build_result, decode_html
from jobs.extraction.spec import ExtractionSpec, Field

__all__ = [
    "FORMATS",
    "ExtractionSpec",
    "Extractor",
    "Field",
    "build_result",
    "check_result",
    "compile_spec",
    "decode_html",
]
