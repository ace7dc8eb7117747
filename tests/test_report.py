"""The page: what it says for every kind of sweep, what it never lets through, and its size."""

import json
import math
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import yaml

from dashboards import figures, report
from dashboards.errors import ResultsError
from dashboards.records import Parameter, Sweep
from dashboards.report.configs import pack
from dashboards.report.page import in_script, text
from dashboards.runs import Runs, find_runs
from tests.odd_studies import all_of, odd, wide
from tests.studies import EVIL, REALISTIC_SPACE, realistic_sweep, sweep_record, trial_record

HEADINGS = [
    "What is the best configuration, and how sure are we?",
    "Is the search done?",
    "What mattered?",
    "Where to look next?",
    "How did training go?",
    "What did it cost?",
    "What ended early, and why?",
    "All trials",
]


class Outline(HTMLParser):
    """Collects a page's elements, headings and text outside of scripts and styles."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.headings: list[str] = []
        self.words: list[str] = []
        self._open: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append(tag)
        self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        while self._open and self._open.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if "script" in self._open or "style" in self._open:
            return
        self.words.append(data)
        if self._open and self._open[-1] == "h2":
            self.headings.append(data)

    @property
    def text(self) -> str:
        return " ".join(self.words)


def page_data(page: str) -> dict[str, Any]:
    found = re.search(r'id="page-data">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    data: dict[str, Any] = json.loads(found[1])
    return data


@pytest.mark.parametrize(
    ("make", "said"),
    [
        pytest.param(lambda: sweep_record([]), "There is no trial yet", id="empty"),
        pytest.param(lambda: realistic_sweep(1), "no other configuration to compare it with", id="one"),
        pytest.param(lambda: realistic_sweep(2), "Too few trials have ended", id="two"),
        pytest.param(lambda: all_of("failed"), "so there is no best one: 12 failed", id="failed"),
        pytest.param(lambda: all_of("pruned"), "so there is no best one: 12 pruned", id="pruned"),
        pytest.param(lambda: all_of("diverged"), "so there is no best one: 12 diverged", id="diverged"),
        pytest.param(lambda: all_of("running", 2), "No trial has ended yet", id="running"),
        pytest.param(lambda: all_of("waiting", 2), "No trial has ended yet", id="waiting"),
        pytest.param(wide, "32 less important parameters left out", id="40 parameters"),
        pytest.param(odd, "No trial has reported a finite val_loss.", id="NaN and infinities"),
        pytest.param(lambda: realistic_sweep(60), "parameters that only some trials have", id="conditional"),
    ],
)
def test_every_kind_of_sweep_makes_a_sensible_page(make: Callable[[], Sweep], said: str) -> None:
    sweep = make()
    page = report.build(sweep)
    outline = Outline(page)
    assert said in outline.text
    assert outline.headings == (HEADINGS if sweep.trials else HEADINGS[:1])
    assert page.count("plotly.js v") <= 1
    assert "None" not in outline.text


def test_the_page_names_the_best_its_margin_and_what_the_last_third_brought() -> None:
    trials = [
        trial_record(n, "complete", value, params={"lr": 0.1 * (n + 1)})
        for n, value in enumerate([0.5, 0.4, 0.45, 0.44, 0.3, 0.6])
    ]
    said = Outline(report.build(sweep_record(trials, Parameter("lr", "float", 0.0, 1.0)))).text
    assert "Trial 4: val_loss = 0.3, the best of 6 complete trials." in said
    assert "The next configuration is worse by 0.1. No configuration was repeated with another seed" in said
    assert "The last third of the trials (4 to 5) improved val_loss from 0.4 to 0.3" in said
    assert "Take this with caution: 6 trials for 1 parameter is few" in said


def test_trials_without_a_better_one_say_how_likely_a_further_one_is_better() -> None:
    trials = [trial_record(n, "complete", 1.0 + (n != 1), params={"lr": n / 60}) for n in range(60)]
    said = Outline(report.build(sweep_record(trials, Parameter("lr", "float", 0.0, 1.0)))).text
    assert "brought no better val_loss" in said
    assert "one in 61 would be better than all so far" in said


def test_names_and_values_full_of_markup_stay_text() -> None:
    space = [
        Parameter(f"model.{EVIL}", "categorical", choices=(EVIL, "b")),
        Parameter("x", "float", 0.0, 1.0),
    ]
    trials = [
        trial_record(n, "complete" if n else "failed", n / 9 if n else None, reason=EVIL, worker=EVIL,
                     params={f"model.{EVIL}": (EVIL, "b")[n % 2], "x": n / 20}, config={EVIL: {EVIL: EVIL}},
                     timing={"started": 1.0 + n, "slot_seconds": 1.0}, intermediate={1: 1.0, 2: 0.5})
        for n in range(16)
    ]  # fmt: skip
    sweep = sweep_record(
        trials, *space, name=EVIL, metric=EVIL, spec={"sampler": EVIL}, versions={EVIL: EVIL}
    )
    ordinary = Outline(report.build(realistic_sweep(40)))
    for page in (report.build(sweep), report.build([sweep, sweep])):
        outline = Outline(page)
        assert set(outline.tags) <= {*ordinary.tags, "ul", "li"}
        assert "<b>x</b> </script><img src=x" in outline.text
        assert "<img" not in page.replace("&lt;img", "").split("<script>/**")[0]
    config = page_data(report.build(sweep))["trials"]["configs"]
    copied = yaml.safe_load(written(config, 0))
    as_exported = {"num_sanity_val_steps": 0, "devices": 1}
    assert copied == {EVIL: {EVIL: EVIL}, "trainer": as_exported}


def written(configs: dict[str, Any], row: int) -> str:
    """What the page's script makes of a row."""
    place, *values = configs["rows"][row]
    parts = configs["shapes"][place]
    return "".join(part + value for part, value in zip(parts, [*values, ""], strict=True))


def test_packed_configs_are_yaml_of_the_same_values() -> None:
    configs: list[dict[str, Any]] = [
        {
            "model": {"lr": 1e-5, "name": "1e3", "none": None, "deep": [{"a": [1, 2]}, {}]},
            "seed_everything": 7,
        },
        {
            "model": {"lr": 2.0, "name": "on", "none": None, "deep": [{"a": [1, 3]}, {}]},
            "seed_everything": 2**63,
        },
        {"model": {"lr": 0.5, "name": "two\nlines: 'é' 🙂", "none": None, "deep": [{"a": []}, {}]}},
        {
            "model": {"lr": math.inf, "name": "", "none": True, "deep": [{"a": [1, 2]}, {}]},
            "seed_everything": 7,
        },
        {},
    ]
    packed = json.loads(json.dumps(pack(configs)))
    assert len(packed["shapes"]) == 2
    for row, config in enumerate(configs[:4]):
        assert yaml.safe_load(written(packed, row)) == config
    assert packed["rows"][4] == []


def test_configs_that_share_most_values_take_little_room() -> None:
    configs = [{"model": {"lr": n / 7, "same": "x" * 1000}} for n in range(100)]
    assert len(json.dumps(pack(configs))) < 5_000


def test_the_page_asks_for_nothing_from_anywhere() -> None:
    page = report.build(realistic_sweep(30))
    assert "default-src 'none'" in page
    assert set(re.findall(r"<(?:script|link|img|iframe)[^>]*(?:src|href)=\"([^\"]*)", page)) == {"data:,"}
    assert page.count("plotly.js v") == 1


def test_a_comparison_ranks_the_sweeps() -> None:
    first, second = realistic_sweep(30, name="one"), realistic_sweep(20, seed=1, name="two")
    outline = Outline(report.build([first, second]))
    winner = min((first, second), key=lambda sweep: sweep.summary.best_value or 0.0)
    assert f"{winner.name}: val_loss = " in outline.text
    line = figures.comparison_data([first]).lines[0]
    assert f"after {line.trials[line.values.index(min(line.values))]} of 30 trials" in outline.text
    assert outline.headings == [
        "Which sweep found the best?", "What did each spend on it?", "How good are the trials as a whole?",
        "The best configurations",
    ]  # fmt: skip
    empty = Outline(report.build([sweep_record([], name="a"), sweep_record([], name="b")]))
    assert "None of the sweeps has a complete trial." in empty.text
    with pytest.raises(ResultsError, match="cannot be compared"):
        report.build([first, sweep_record([], name="other", metric="acc")])
    with pytest.raises(ResultsError, match="name at least one"):
        report.build([])


def test_text_is_escaped_and_stays_writable() -> None:
    assert text("<a href=\"x\">'&'") == "&lt;a href=&quot;x&quot;&gt;&#x27;&amp;&#x27;"
    assert text("a\x00b\ud800") == "a b?"
    assert in_script({"a": "</script><!--"}) == '{"a":"\\u003c/script>\\u003c!--"}'


def test_an_mlflow_store_that_is_gone_is_named_and_left_out(tmp_path: Path) -> None:
    where = {"tracking_uri": f"sqlite:///{tmp_path}/gone.db", "experiment": "digits"}
    page = report.build(realistic_sweep(5, mlflow=where))
    assert "MLflow could not be read: sqlite:///" in Outline(page).text
    assert not (tmp_path / "gone.db").exists()
    assert find_runs(realistic_sweep(1)) == Runs()


def test_a_hundred_trials_weigh_less_than_six_megabytes() -> None:
    assert len(report.build(realistic_sweep(100)).encode()) < 6_000_000
    assert len(REALISTIC_SPACE) == 7
