from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from selectolax.lexbor import LexborHTMLParser

from jobs.errors import TooLarge
from jobs.extraction import ExtractionSpec, compile_spec, css

SHOP = """
<ul id=shop>
  <li class="card" data-sku="A1" hidden><h2> Red <b> lamp </b></h2><a href="/a">more</a>
    <p class=price>EUR 12.50</p><ul><li class=tag>new</li><li class="tag hot">sale</li></ul></li>
  <li class="card" data-sku="B2"><h2>Blue lamp</h2><div class=seller><i>Ann</i></div></li>
</ul>
"""


def extract(html: str, *fields: dict[str, Any], base: str = ".card", **keys: Any) -> Any:
    spec = ExtractionSpec.model_validate({"baseSelector": base, "fields": list(fields), **keys})
    return compile_spec(spec).extract(LexborHTMLParser(html))


def column(html: str, base: str = ".card", **keys: Any) -> list[Any]:
    anchor = {"name": "_", "type": "html"}
    records = extract(html, anchor, {"name": "x", "type": "text", **keys}, base=base)
    return [record["x"] for record in records]


def test_text_is_stripped_piece_by_piece_and_joined() -> None:
    assert column(SHOP, selector="h2") == ["Redlamp", "Blue lamp"]


def test_an_attribute_comes_from_the_first_match() -> None:
    assert column(SHOP, selector="a", type="attribute", attribute="href") == ["/a", None]


def test_without_a_selector_the_element_itself_is_read() -> None:
    assert column(SHOP, type="attribute", attribute="data-sku") == ["A1", "B2"]


def test_an_attribute_without_a_value_is_an_empty_string() -> None:
    assert column(SHOP, type="attribute", attribute="hidden", default="no") == ["", "no"]


def test_html_is_the_markup_of_the_element_with_its_tag() -> None:
    assert (
        column(SHOP, selector=".seller", type="html")[1] == '<div class="seller"><i>Ann</i></div>'
    )


def test_a_regex_yields_its_first_group() -> None:
    assert column(SHOP, selector=".price", type="regex", pattern=r"(\d+)\.(\d+)") == ["12", None]


def test_a_regex_without_a_group_yields_the_match() -> None:
    assert column(SHOP, selector="h2", type="regex", pattern="[A-Z]l") == [None, "Bl"]


def test_a_group_that_took_no_part_counts_as_no_match() -> None:
    pattern = "(Red)|Blue"
    assert column(SHOP, selector="h2", type="regex", pattern=pattern, default="-") == ["Red", "-"]


def test_a_regex_with_an_attribute_matches_the_attribute() -> None:
    assert column(SHOP, type="regex", attribute="data-sku", pattern=r"\d") == ["1", "2"]


@pytest.mark.parametrize(("transform", "text"), [("uppercase", "ANN"), ("lowercase", "ann")])
def test_a_transform_changes_what_was_found_and_not_the_default(transform: str, text: str) -> None:
    assert column(SHOP, selector="i", transform=transform, default="None") == ["None", text]


def test_strip_removes_the_white_space_around_an_attribute() -> None:
    html = "<p class=card title='  a  b '>"
    assert column(html, type="attribute", attribute="title", transform="strip") == ["a  b"]


@pytest.mark.parametrize("default", ["none", 0, False, 1.5])
def test_a_default_stands_for_a_missing_element_or_attribute(default: object) -> None:
    assert column(SHOP, selector="video", default=default) == [default, default]
    found = column(SHOP, selector="h2", type="attribute", attribute="lang", default=default)
    assert found == [default, default]


def test_an_empty_element_is_an_empty_text_and_no_default() -> None:
    assert column("<p class=card><i></i></p>", selector="i", default="-") == [""]


def test_nested_is_one_object_or_null() -> None:
    name = {"name": "name", "type": "text", "selector": "i"}
    assert column(SHOP, type="nested", selector=".seller", fields=[name]) == [None, {"name": "Ann"}]


def test_nested_without_a_selector_groups_fields_of_the_element() -> None:
    sku = {"name": "sku", "type": "attribute", "attribute": "data-sku"}
    assert column(SHOP, type="nested", fields=[sku]) == [{"sku": "A1"}, {"sku": "B2"}]


@pytest.mark.parametrize("kind", ["list", "nested_list"])
def test_a_list_holds_an_object_for_each_match(kind: str) -> None:
    tag = {"name": "tag", "type": "text"}
    found = column(SHOP, type=kind, selector=".tag", fields=[tag])
    assert found == [[{"tag": "new"}, {"tag": "sale"}], []]


def test_a_list_with_a_default_uses_it_when_nothing_matches() -> None:
    tag = {"name": "tag", "type": "text"}
    assert column(SHOP, type="list", selector=".tag", fields=[tag], default="-")[1] == "-"


def test_base_fields_come_first_in_a_record() -> None:
    sku = {"name": "sku", "type": "attribute", "attribute": "data-sku"}
    records = extract(SHOP, {"name": "h", "type": "text", "selector": "h2"}, baseFields=[sku])
    assert [list(record) for record in records] == [["sku", "h"], ["sku", "h"]]


def test_an_element_where_nothing_was_found_makes_no_record() -> None:
    html = "<table><tr><th>Head</th></tr><tr><td>1</td></tr></table>"
    assert extract(html, {"name": "x", "type": "text", "selector": "td"}, base="tr") == [{"x": "1"}]


def test_a_field_selector_sees_descendants_and_not_the_element_itself() -> None:
    html = "<div>a<div>b<div>c</div></div></div>"
    assert column(html, base="div", selector="div", type="text") == ["bc", "c", None]
    text = {"name": "t", "type": "text"}
    lists = column(html, base="div", selector="div", type="list", fields=[text])
    assert lists == [[{"t": "bc"}, {"t": "c"}], [{"t": "c"}], []]
    upper = column(html, base="div", selector="div", transform="uppercase")
    assert upper == ["BC", "C", None]


def test_a_field_selector_may_name_ancestors_of_the_element() -> None:
    assert column(SHOP, selector="#shop h2") == ["Redlamp", "Blue lamp"]


def test_an_element_that_matches_two_alternatives_is_one_record() -> None:
    assert column(
        SHOP, base=".card, li[data-sku], .card", type="attribute", attribute="data-sku"
    ) == [
        "A1",
        "B2",
    ]


def test_elements_come_in_document_order_whatever_the_alternatives() -> None:
    assert column("<p>1</p><i>2</i><p>3</p>", base="i, p") == ["1", "2", "3"]


def test_nothing_matched_is_an_empty_list() -> None:
    assert extract("<p>a</p>", {"name": "x", "type": "text"}) == []


def test_a_result_far_larger_than_its_document_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(css, "MAX_RESULT_CHARS", 10_000)
    html = "<div>" * 100 + "text"
    with pytest.raises(TooLarge):
        extract(html, {"name": "x", "type": "html"}, base="div")


def test_lists_of_lists_of_everything_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(css, "MAX_RESULT_CHARS", 100_000)
    text: dict[str, Any] = {"name": "x", "type": "text"}
    inner = {"name": "b", "type": "list", "selector": "*", "fields": [text]}
    outer = {"name": "a", "type": "list", "selector": "*", "fields": [inner]}
    with pytest.raises(TooLarge):
        extract("<i>" * 60, outer, base="*")


MARKUP = st.lists(
    st.sampled_from(
        ["<div class=card>", "</div>", "<p>", "<li>", "<table>", "<a href='x'>", "</a>"]
    )
    | st.text(max_size=5)
).map("".join)


@settings(derandomize=True, deadline=None)
@given(MARKUP)
def test_arbitrary_html_never_raises_and_keeps_the_shape_of_a_record(html: str) -> None:
    records = extract(
        html,
        {"name": "text", "type": "text"},
        {"name": "href", "type": "attribute", "selector": "a, [href]", "attribute": "href"},
        {"name": "all", "type": "list", "selector": "*", "fields": [{"name": "h", "type": "html"}]},
        base="div, .card, li",
    )
    assert all(list(record) == ["text", "href", "all"] for record in records)


@settings(derandomize=True, deadline=None)
@given(MARKUP, st.sampled_from(["p", "div p", "li, .card", "div > *", ":has(p)", "p ~ a"]))
def test_every_element_is_reported_once(html: str, selector: str) -> None:
    tree = LexborHTMLParser(html)
    nodes = css._distinct(selector, tree.css(selector))
    assert len(nodes) == len({node.mem_id for node in nodes})
