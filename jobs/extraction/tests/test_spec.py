from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from jobs.extraction import ExtractionSpec
from jobs.extraction.checks import count_backtracking


def field(**keys: Any) -> dict[str, Any]:
    return {"name": "a", "type": "text", **keys}


def spec(*fields: dict[str, Any], **keys: Any) -> dict[str, Any]:
    return {"baseSelector": ".card", "fields": list(fields or [field()]), **keys}


def problems(document: Any) -> dict[str, str]:
    with pytest.raises(ValidationError) as caught:
        ExtractionSpec.model_validate(document)
    return {".".join(map(str, error["loc"])): error["msg"] for error in caught.value.errors()}


def nested(levels: int) -> dict[str, Any]:
    inner = field()
    for _ in range(levels - 1):
        inner = field(type="nested", fields=[inner])
    return inner


def test_a_crawl4ai_schema_survives_a_round_trip() -> None:
    document = {
        "name": "Shop",
        "baseSelector": ".card",
        "baseFields": [{"name": "sku", "type": "attribute", "attribute": "data-sku"}],
        "fields": [
            {"name": "title", "selector": "h2", "type": "text", "transform": "strip"},
            {"name": "price", "type": "regex", "selector": "p", "pattern": "(\\d+)", "default": 0},
            {"name": "tags", "type": "list", "selector": "li", "fields": [field()]},
        ],
    }
    parsed = ExtractionSpec.model_validate(document)
    assert parsed.model_dump(mode="json", by_alias=True, exclude_unset=True) == document


def test_an_unknown_key_is_refused_where_it_stands() -> None:
    assert "fields.0.xpath" in problems(spec(field(xpath="//a")))
    assert "limit" in problems(spec(limit=1))


def test_an_unknown_type_is_refused() -> None:
    assert set(problems(spec(field(type="computed")))) == {"fields.0.type"}


@pytest.mark.parametrize("selector", ["", " ", "h2[", "a::text", ":scope > a", "> a", "a,", "x{}"])
def test_a_selector_the_engine_cannot_parse_is_refused_with_its_path(selector: str) -> None:
    good = field(name="b", selector="h2")
    assert set(problems(spec(good, field(selector=selector)))) == {"fields.1.selector"}


def test_the_base_selector_is_checked_too() -> None:
    assert set(problems(spec(baseSelector="..card"))) == {"baseSelector"}


def test_a_selector_longer_than_500_characters_is_refused() -> None:
    ExtractionSpec.model_validate(spec(field(selector="." + "a" * 499)))
    assert set(problems(spec(field(selector="." + "a" * 500)))) == {"fields.0.selector"}


def test_a_selector_that_would_backtrack_for_ages_is_refused() -> None:
    ExtractionSpec.model_validate(spec(field(selector="a > b > c > d > e > f > g > h > i > j > k")))
    ExtractionSpec.model_validate(
        spec(field(selector="a b, " * 20 + "a[title='a b c d e f g h i j']"))
    )
    ExtractionSpec.model_validate(spec(field(selector="div " * 6 + "p")))
    assert "combinators" in problems(spec(field(selector="div " * 7 + "p")))["fields.0.selector"]
    assert "combinators" in problems(spec(field(selector="i~" * 7 + "i")))["fields.0.selector"]


@pytest.mark.parametrize(
    ("selector", "count"),
    [
        ("a", 0),
        ("a b ~ c > d + e", 2),
        ("a b, c d e, f", 2),
        ("a:has(b)", 1),
        ("a:HAS( b:has(c) )", 2),
        ("a:has(b c, d) e", 3),
        ("a:has(b, c:has(d e f), g) h i, j", 6),
        ("a:not(.b):is(c, d)", 0),
        (":is(h1 a, h2 a, h3 a) b", 2),
        ("a:has(b c", 2),
        ("a) b", 1),
        (r"a\(b c\, d e", 3),
        ('[a="]"] b c [d="]"]', 3),
        ("[a='\"'] b c [d='\"']", 3),
        ('/*"*/ a b /*"*/', 1),
    ],
)
def test_what_the_engine_goes_back_over_is_counted_along_the_worst_way(
    selector: str, count: int
) -> None:
    assert count_backtracking(selector) == count


@pytest.mark.parametrize(
    "selector",
    [
        "a" + ":has(b" * 7 + ")" * 7,
        "a b c d e f:has(x, b c d)",
        '[a="]"]' + " div" * 7 + ' [d="]"]',
    ],
)
def test_a_selector_that_would_backtrack_inside_of_functions_is_refused(selector: str) -> None:
    assert ":has()" in problems(spec(field(selector=selector)))["fields.0.selector"]


@pytest.mark.parametrize(
    ("kind", "key"),
    [
        ("attribute", "attribute"),
        ("regex", "pattern"),
        ("nested", "fields"),
        ("list", "fields"),
        ("nested_list", "fields"),
    ],
)
def test_a_type_without_the_key_it_needs_is_refused(kind: str, key: str) -> None:
    assert problems(spec(field(type=kind))) == {
        f"fields.0.{key}": f"a field of type {kind} needs {key}"
    }


@pytest.mark.parametrize(
    "extra",
    [{"attribute": "href"}, {"pattern": "a"}, {"fields": [field()]}],
)
def test_a_key_that_a_type_would_ignore_is_refused(extra: dict[str, Any]) -> None:
    assert set(problems(spec(field(**extra)))) == {f"fields.0.{next(iter(extra))}"}


def test_a_transform_of_a_list_is_refused() -> None:
    listed = field(type="list", fields=[field()], transform="strip")
    assert set(problems(spec(listed))) == {"fields.0.transform"}


@pytest.mark.parametrize("pattern", ["(", "(?=a)", r"(a)\1", "a" * 1001, "(a?){1000}a{1000}b"])
def test_a_pattern_outside_re2_or_its_bounds_is_refused(pattern: str) -> None:
    assert set(problems(spec(field(type="regex", pattern=pattern)))) == {"fields.0.pattern"}


def test_siblings_with_one_name_are_refused_with_the_path_of_the_second() -> None:
    group = field(type="nested", fields=[field(), field()])
    assert set(problems(spec(group))) == {"fields.0.fields.1.name"}
    assert set(problems(spec(field(), baseFields=[field()]))) == {"fields.0.name"}


def test_a_name_may_return_on_another_level() -> None:
    ExtractionSpec.model_validate(spec(field(type="nested", fields=[field()])))


@pytest.mark.parametrize("name", ["", "a" * 101, "a\x00", "a\ud800"])
def test_a_name_that_is_empty_long_or_unstorable_is_refused(name: str) -> None:
    assert set(problems(spec(field(name=name)))) == {"fields.0.name"}


@pytest.mark.parametrize("key", ["selector", "attribute", "pattern", "default"])
def test_unstorable_characters_are_refused_in_every_string(key: str) -> None:
    kind = {"attribute": "attribute", "pattern": "regex"}.get(key, "text")
    assert set(problems(spec(field(type=kind, **{key: "a\x00"})))) == {f"fields.0.{key}"}


@pytest.mark.parametrize("default", [[1], {"a": 1}, float("nan"), 2**63, "a" * 10_001])
def test_a_default_that_is_no_small_scalar_is_refused(default: object) -> None:
    assert set(problems(spec(field(default=default)))) == {"fields.0.default"}


def test_a_hundred_fields_are_accepted_and_one_more_is_refused() -> None:
    ExtractionSpec.model_validate(spec(*(field(name=str(n)) for n in range(100))))
    inner = [field(name=str(n)) for n in range(60)]
    groups = [field(name=name, type="nested", fields=inner) for name in "ab"]
    assert "at most 100 fields" in " ".join(problems(spec(*groups)).values())


def test_five_levels_are_accepted_and_the_sixth_is_refused() -> None:
    ExtractionSpec.model_validate(spec(nested(5)))
    assert set(problems(spec(nested(6)))) == {"fields.0" + ".fields.0" * 5}


def test_a_spec_nested_a_thousand_levels_deep_is_refused_in_the_same_way() -> None:
    assert "at most 5 levels" in " ".join(problems(spec(nested(1000))).values())


@pytest.mark.parametrize("document", [None, [], "x", {"baseSelector": "a", "fields": "x"}])
def test_another_json_document_is_refused(document: object) -> None:
    assert problems(document)


def test_a_spec_and_a_group_without_fields_are_refused() -> None:
    assert set(problems({"baseSelector": "a", "fields": []})) == {"fields"}
    assert set(problems(spec(field(type="list", fields=[])))) == {"fields.0.fields"}
