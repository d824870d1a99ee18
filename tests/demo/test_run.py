"""The default run: how well it learns, what it measures, and the report that it writes."""

import html.parser
import re

import numpy as np
import pytest

from functional_optim.demo import data, job
from functional_optim.demo.config import Config
from functional_optim.demo.rules import RULES


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    """The run that `python -m functional_optim` makes: the slowest part of these tests."""
    return job.run(Config(), tmp_path_factory.mktemp("demo"))


@pytest.fixture(scope="module")
def report(tmp_path_factory, outcome):
    """The text of the report of the default run."""
    return job.write_report(outcome, tmp_path_factory.mktemp("report")).read_text("utf-8")


def test_reads_97_percent_of_the_held_out_images(outcome):
    digits = data.load(outcome.config.seed)
    x = np.asarray(digits.test_images, np.float64).reshape(-1, 64)
    layers = [outcome.state.params[name] for name in ("hidden_0", "hidden_1", "readout")]
    for i, layer in enumerate(layers):
        x = x @ np.asarray(layer["kernel"], np.float64) + np.asarray(layer["bias"], np.float64)
        x = np.maximum(x, 0) if i < 2 else x
    accuracy = np.mean(x.argmax(axis=1) == np.asarray(digits.test_labels))
    assert accuracy >= 0.97
    assert outcome.accuracy == pytest.approx(accuracy)


def test_both_interfaces_end_at_the_same_parameters(outcome):
    assert outcome.comparison.difference == 0
    assert 0.1 < outcome.comparison.scale < 10


def test_learning_rate_is_a_line_then_half_a_cosine(outcome):
    steps = outcome.config.steps
    warmup, t = steps // 10, np.arange(steps)
    cosine = (1 + np.cos(np.pi * (t - warmup) / (steps - warmup))) / 2
    expected = RULES["adamw"].peak * np.where(t < warmup, t / warmup, cosine)
    np.testing.assert_allclose(outcome.curves["learning_rate"].ravel(), expected, rtol=1e-5)


def test_curves_have_a_value_for_each_step(outcome):
    assert all(np.isfinite(curve).all() for curve in outcome.curves.values())
    assert outcome.curves["loss"].shape == (40, 1437 // 64)
    assert (outcome.curves["gradient_norm"] > 0).all()


def test_race_compiles_once_for_each_rule(outcome):
    assert {entry.rule: entry.compilations for entry in outcome.race} == dict.fromkeys(RULES, 1)


def test_race_finds_a_learning_rate_that_works_for_each_rule(outcome):
    for entry in outcome.race:
        assert entry.accuracy[entry.best] > 0.9
        assert 0 < entry.best < len(entry.accuracy) - 1


class Links(html.parser.HTMLParser):
    """Collects what a browser would fetch, and the elements."""

    def __init__(self, text):
        super().__init__()
        self.links, self.tags = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [v for k, v in attrs if k in ("src", "srcset", "href", "xlink:href", "data")]


def test_report_needs_no_other_file(report):
    page = Links(report)
    assert [link for link in page.links if not link.startswith("#")] == []
    assert not {"script", "link", "iframe", "img"} & set(page.tags)
    assert re.findall(r"@import|url\((?!#)", report) == []


def test_report_shows_charts_and_every_number_of_the_race(outcome, report):
    assert Links(report).tags.count("svg") == 5 + len(outcome.mistakes)
    assert f"{outcome.accuracy:.2%}" in report
    cells = re.findall(r"<td[^>]*>([\d.]+)%</td>", report)
    shown = [float(cell) for cell in cells]
    measured = np.concatenate([entry.accuracy for entry in outcome.race])
    np.testing.assert_allclose(shown, 100 * measured, atol=0.051)
    assert report.count('class="best"') == len(RULES)
