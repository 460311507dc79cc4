"""The page: what others wrote stays text, nothing but its own style and script may act, and all figures are there."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace

import pytest

from pipeline.jobs.state import State
from pipeline.report.page import MARK, Report, data_of, digest, part, render
from tests.report.reports import HOSTILE, clip, failure, job, report, seen

ADDRESSES = {"src", "href", "poster", "action", "data", "formaction", "srcset", "xlink:href"}


def hostile() -> Report:
    """Return a batch in which every text that others can write is hostile."""
    jobs = [
        job(
            f"item-{number}",
            state,
            prompt=text,
            model=text,
            provider="modelmax",
            parameters={text: text},
            metadata={text: text},
            warnings=(text,),
            failure=failure(text, text) if state is State.FAILED else None,
        )
        for number, text in enumerate(HOSTILE)
        for state in (State.DONE, State.FAILED)
    ]
    return report(*jobs, name=HOSTILE[1], next_command=f"clipmill resume '{HOSTILE[2]}'")


@pytest.mark.parametrize("made", [report(), report(job()), hostile()], ids=["empty", "one", "hostile"])
def test_a_page_has_its_own_style_and_script_and_no_other(made: Report) -> None:
    page = seen(render(made))
    scripts = [attributes for tag, attributes in page.tags if tag == "script"]
    assert scripts == [{"type": "application/json", "id": "batch"}, {}]
    assert page.raw["script"][1] == part("page.js")
    assert page.raw["style"] == [part("page.css")]
    assert not [tag for tag, _ in page.tags if tag in {"iframe", "object", "embed", "base", "img", "video", "template"}]


@pytest.mark.parametrize("made", [report(), report(job()), hostile()], ids=["empty", "one", "hostile"])
def test_no_element_has_a_handler_a_style_or_an_address_elsewhere(made: Report) -> None:
    for tag, attributes in seen(render(made)).tags:
        names = [name for name in attributes if name.startswith("on") or name == "style"]
        assert not names, (tag, names)
        for name in ADDRESSES & attributes.keys():
            assert attributes[name].startswith(("#", "data:image/svg+xml,")), (tag, name, attributes[name])


def test_the_policy_names_the_very_style_and_script_and_lets_nothing_else_act() -> None:
    page = seen(render(report(job())))
    said = [directive.split(" ", 1) for directive in page.meta("Content-Security-Policy").split("; ")]
    policy = dict(said)
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == f"'{digest(page.raw['script'][1])}'"
    assert policy["style-src"] == f"'{digest(page.raw['style'][0])}'"
    assert policy["base-uri"] == policy["form-action"] == "'none'"
    assert policy["require-trusted-types-for"] == "'script'"
    assert "unsafe" not in page.meta("Content-Security-Policy")
    assert "http" not in page.meta("Content-Security-Policy")


def test_the_policy_stands_before_all_that_it_is_to_hold() -> None:
    tags = [(tag, attributes.get("http-equiv", "")) for tag, attributes in seen(render(report(job()))).tags]
    place = tags.index(("meta", "Content-Security-Policy"))
    assert not {tag for tag, _ in tags[:place]} & {"style", "script", "link"}


def test_hostile_texts_come_out_as_they_went_in() -> None:
    made = hostile()
    rows = seen(render(made)).rows()
    assert [row["prompt"] for row in rows] == [text for text in HOSTILE for _ in range(2)]
    assert [row["metadata"] for row in rows] == [{text: text} for text in HOSTILE for _ in range(2)]


def test_the_html_shows_hostile_texts_as_text() -> None:
    page = seen(render(report(job("fox", State.FAILED, failure=failure("kind", HOSTILE[0])), name=HOSTILE[1])))
    assert HOSTILE[0] in page.text
    assert f"{HOSTILE[1]} · clipmill" in page.text


def test_the_block_of_data_holds_no_sign_that_could_end_it() -> None:
    data = data_of(hostile())
    assert not set("<>&\u2028\u2029") & set(data)


def test_the_style_and_the_script_hold_no_sign_that_could_end_them() -> None:
    for name in ("page.css", "page.js"):
        assert "</" not in part(name)
        assert "\r" not in part(name)


def test_the_script_never_sets_markup_and_calls_nobody() -> None:
    script = part("page.js")
    banned = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function|fetch\(|XMLHttp|import\("
    assert not re.search(banned, script)


def test_a_page_says_what_wrote_it_within_its_first_bytes() -> None:
    assert f'content="{MARK} '.encode() in render(hostile())[:4096]


def test_the_figures_are_there() -> None:
    done = [job("a", took_s=10), job("b", took_s=70, clips=(clip("b"), clip("b", 1)))]
    doubt = job("c", State.CLAIM_IN_DOUBT, failure=failure("claim_unanswered", "The connection broke."))
    waiting = job("d", State.SUBMITTED)
    page = seen(render(report(*done, doubt, waiting, next_command="clipmill resume output/reefs")))
    text = " ".join(page.text.split())
    assert "2 of 4 items are done. Next: clipmill resume output/reefs" in text
    assert "Clips 3 12 s of video, 900 kB" in text
    assert "Spent $0.80 $0.40 reserved, $0.40 in doubt" in text
    assert "From submit to clip 10 s median; nine in ten within 1 min 10 s" in text
    assert "All that counts against the cap of $25.00 $1.60" in text
    assert "Look lag: finished, and not yet seen 1.5 s" in text
    assert "The result's answer was lost" in text
    assert "clipmill resolve output/reefs" in text
    labels = [attributes["aria-label"] for tag, attributes in page.tags if attributes.get("role") == "img"]
    assert "Items by state: Done 2, At the provider 1, In doubt 1" in labels


def test_a_batch_that_went_well_has_nothing_that_needs_anyone() -> None:
    text = seen(render(report(job("a"), job("b")))).text
    assert "All 2 items are done." in text
    assert "What needs you" not in text


def test_a_rehearsal_says_that_nothing_was_bought() -> None:
    assert "nothing was bought" in seen(render(report(job("a"), is_rehearsal=True))).text
    assert "nothing was bought" not in seen(render(report(job("a")))).text


def test_an_empty_batch_has_a_page_too() -> None:
    assert "There is nothing in this batch yet." in seen(render(report())).text


def test_every_label_and_every_heading_that_is_pointed_at_exists() -> None:
    tags = seen(render(hostile())).tags
    ids = [attributes["id"] for _, attributes in tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    pointed = {attributes[name] for _, attributes in tags for name in ("aria-labelledby", "for") if name in attributes}
    pointed |= {a["href"][1:] for _, a in tags if a.get("href", "").startswith("#")}
    assert pointed - {"viewer-title"} <= set(ids)


def test_a_thousand_items_are_less_than_half_a_megabyte() -> None:
    made = report(*(job(f"item-{number}") for number in range(1000)))
    assert len(render(made)) < 500_000


def test_without_jinja2_it_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['jinja2'] = None\n"
        "from pipeline.report.page import refuse_without_templates\n"
        "refuse_without_templates()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "pip install 'clipmill[report]'" in done.stderr
    assert "InputError" in done.stderr


def test_two_pages_of_the_same_record_are_the_same() -> None:
    made = hostile()
    assert render(made) == render(replace(made))
