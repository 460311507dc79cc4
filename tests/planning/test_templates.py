import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.manifest.template import BadTemplate, placeholders
from pipeline.planning.templates import NameNotSet, parse_template, plain


@pytest.mark.parametrize(
    ("text", "filled"),
    [
        ("A {animal}", "A fox"),
        ("{animal}{animal}", "foxfox"),
        ("{{animal}}", "{animal}"),
        ("{{{animal}}}", "{fox}"),
        ("{ animal }", "fox"),
        ("{n} of {flag}", "8 of true"),
        ("no names", "no names"),
        ("}}{{", "}{"),
    ],
)
def test_names_are_filled_and_doubled_braces_are_single(text, filled):
    assert parse_template(text).fill({"animal": "fox", "n": 8.0, "flag": True}) == filled


def test_what_is_filled_in_is_not_a_template():
    assert parse_template("{a} {b}").fill({"a": "{b}", "b": "{{"}) == "{b} {{"


@pytest.mark.parametrize("text", ["{", "}", "a { b", "{}", "{ }", "{a", "a}", "{a{b}}"])
def test_a_lone_brace_is_refused(text):
    with pytest.raises(BadTemplate):
        parse_template(text)


@pytest.mark.parametrize("text", ["{a.__class__}", "{a!r}", "{a:>10}", "{a[0]}"])
def test_formats_and_attributes_are_only_names_that_do_not_exist(text):
    with pytest.raises(NameNotSet):
        parse_template(text).fill({"a": "x"})


@given(st.text())
def test_doubled_braces_bring_any_text_through(text):
    assert parse_template(text.replace("{", "{{").replace("}", "}}")).fill({}) == text


@given(st.text())
def test_a_plain_prompt_is_taken_as_it_is(text):
    assert plain(text).fill({}) == text


@given(st.text(alphabet="{}ab "))
def test_the_grammar_is_the_manifests(text):
    try:
        names = placeholders(text)
    except BadTemplate:
        with pytest.raises(BadTemplate):
            parse_template(text)
    else:
        assert tuple(dict.fromkeys(parse_template(text).names)) == names
