"""Charts: every figure is in one bar, bars are in order and within the plot, axes count in lengths that people know."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.report.charts import BARS_MOST, Chart, finished_over_time, spread_of

BEGAN = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
SPANS_S = st.floats(min_value=0, max_value=400 * 86_400)


def number(says: str) -> int:
    """Return what a bar counts."""
    return int(says.rpartition(": ")[2].split()[0].replace(",", ""))


def assert_drawn(chart: Chart, total: int) -> None:
    assert sum(number(bar.says) for bar in chart.bars) == total
    assert [bar.left for bar in chart.bars] == sorted(bar.left for bar in chart.bars)
    for bar in chart.bars:
        assert 0 <= bar.left < bar.left + bar.width <= 100.001
        assert 0 < bar.height <= 100
    top = int(chart.up[-1].label.replace(",", ""))
    tallest = max(chart.bars, key=lambda bar: bar.height)
    assert tallest.height == pytest.approx(100 * number(tallest.says) / top, abs=0.01)
    assert all(0 <= tick.at <= 100 for tick in (*chart.across, *chart.up))


@given(st.lists(st.tuples(SPANS_S, st.integers(min_value=1, max_value=4)), min_size=1, max_size=60))
def test_every_clip_is_in_one_bar_of_time(finished: list[tuple[float, int]]) -> None:
    chart = finished_over_time([(BEGAN + timedelta(seconds=after), clips) for after, clips in finished])
    assert chart
    assert len(chart.bars) <= BARS_MOST + 1
    assert_drawn(chart, sum(clips for _, clips in finished))


@given(st.lists(st.floats(min_value=0, max_value=10 * 86_400), min_size=1, max_size=60))
def test_every_item_is_in_one_bar_of_waits(waits_s: list[float]) -> None:
    chart = spread_of(waits_s)
    assert chart
    assert len(chart.bars) <= BARS_MOST + 1
    assert_drawn(chart, len(waits_s))


def test_nothing_finished_is_nothing_to_draw() -> None:
    assert finished_over_time([]) is None
    assert spread_of([]) is None


def test_a_minute_is_counted_in_seconds_and_a_day_in_hours() -> None:
    minute = finished_over_time([(BEGAN, 1), (BEGAN + timedelta(seconds=59), 1)])
    day = finished_over_time([(BEGAN, 1), (BEGAN + timedelta(hours=20), 1)])
    assert minute is not None
    assert day is not None
    assert minute.unit == "clips in 2 s, times in UTC"
    assert minute.bars[0].says == "12:00:00: 1 clip"
    assert day.unit == "clips in 30 min, times in UTC"
    assert [bar.says for bar in day.bars] == ["12:00: 1 clip", "08:00: 1 clip"]


def test_the_sentence_says_when_the_most_were_finished() -> None:
    chart = finished_over_time([(BEGAN, 1), (BEGAN + timedelta(seconds=30), 5)])
    assert chart is not None
    assert chart.says == "Clips finished over time. The most were 5 in the 1 s from 12:00:30 UTC."


def test_waits_begin_where_the_shortest_is() -> None:
    chart = spread_of([40.0, 42.0, 60.0])
    assert chart is not None
    assert chart.across[0].label == "40 s"
    assert chart.bars[0].left < 1
    assert chart.bars[-1].says == "1 min to 1 min 1 s: 1 item"
