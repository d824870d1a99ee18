"""A run of the default rule: its accuracy, its measurements, and its report."""

import dataclasses
import html.parser
import itertools
import re

import numpy as np
import pytest

from functional_optim.demo import data, job, plots, race
from functional_optim.demo.config import Config
from functional_optim.demo.outcome import Reference
from functional_optim.demo.rules import PEAKS, RACED

EPOCHS = 12


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    """Makes the run of `python -m functional_optim` in fewer epochs, and a shorter race.

    The rest would train the same programs on, and it is most of the time of these tests.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(race, "_MAX_EPOCHS", 3)
        return job.run(Config(epochs=EPOCHS), tmp_path_factory.mktemp("demo"))


@pytest.fixture(scope="module")
def report(tmp_path_factory, outcome):
    """Provides the text of the report of that run."""
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
    expected = PEAKS["adamw"] * np.where(t < warmup, t / warmup, cosine)
    np.testing.assert_allclose(outcome.curves["learning_rate"].ravel(), expected, rtol=1e-5)


def test_curves_have_a_value_for_each_step(outcome):
    assert all(np.isfinite(curve).all() for curve in outcome.curves.values())
    assert outcome.curves["loss"].shape == (EPOCHS, 1437 // 64)
    assert (outcome.curves["gradient_norm"] > 0).all()


def test_race_compiles_once_for_each_rule(outcome):
    assert {entry.rule: entry.compilations for entry in outcome.race} == dict.fromkeys(RACED, 1)


def test_race_finds_a_learning_rate_that_works_for_each_rule(outcome):
    for entry in outcome.race:
        assert entry.accuracy[entry.best] > 0.9
        assert 0 < entry.best < len(entry.accuracy) - 1


class Links(html.parser.HTMLParser):
    """Collects the addresses that a browser would request, and the elements."""

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
    assert report.count('class="best"') == len(RACED)


CHARTS = {
    "loss": plots.loss_chart,
    "accuracy": plots.accuracy_chart,
    "gradient": lambda outcome: plots.gradient_chart(outcome, 1.0),
    "schedule": plots.schedule_chart,
    "race": plots.race_chart,
}


def test_report_explains_the_losses_where_it_shows_them(report):
    charts = re.findall(r"<figure class=.chart.>.*?</figure>", report, re.DOTALL)
    loss = next(chart for chart in charts if "<h3>Loss</h3>" in chart)
    assert "shifted at random, while the parameters change" in loss
    assert "the training loss may be above the held-out loss" in loss


@pytest.mark.parametrize("name", CHARTS)
def test_chart_is_readable_on_a_page_420_pixels_wide(outcome, name):
    svg = CHARTS[name](outcome)
    width = float(re.search(r'viewBox="0 0 ([\d.]+) ', svg)[1])
    sizes = [float(size) for size in re.findall(r"font(?:-size)?: ([\d.]+)px", svg)]
    # The padding of the page takes 46 pixels.
    assert min(sizes) * (420 - 46) / width >= 11


@pytest.mark.parametrize("name", CHARTS)
def test_texts_of_a_chart_cover_neither_each_other_nor_curves(outcome, name, monkeypatch):
    monkeypatch.setattr(plots, "_markup", lambda title, figure: figure)
    longest = Reference("generalized_primal_averaging", outcome.curves)
    figure = CHARTS[name](dataclasses.replace(outcome, resumed=3, reference=longest))
    figure.draw_without_rendering()
    (axes,) = figure.axes
    plot = axes.get_window_extent()
    ticks = [*axes.get_xticklabels(), *axes.get_yticklabels()]
    boxes = [tick.get_window_extent() for tick in ticks if tick.get_text()]
    boxes = [box for box in boxes if _within(box.y0, box.y1, plot) or box.y1 <= plot.y0]
    boxes += [axes.xaxis.label.get_window_extent(), axes.yaxis.label.get_window_extent()]
    if axes.get_legend() is not None:
        legend = axes.get_legend().get_window_extent()
        assert legend.y0 >= plot.y1
        assert 0 <= legend.x0 < legend.x1 <= figure.bbox.width
        boxes.append(legend)
    for box, other in itertools.combinations(boxes, 2):
        assert not box.overlaps(other)


def _within(low, high, plot):
    """Tells whether a label is next to the plot: those of ticks beyond the limits are not drawn."""
    return plot.y0 <= (low + high) / 2 <= plot.y1


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """Provides a short run, compared with that of another rule."""
    config = Config(rule="signum", epochs=1)
    out = tmp_path_factory.mktemp("compared")
    return job.run(config, out, with_race=False, compare_with="sgd"), out


def test_other_rule_trains_on_the_same_batches(compared, tmp_path):
    outcome, _ = compared
    alone = job.run(Config(rule="sgd", epochs=1), tmp_path, with_race=False)
    for name, curve in outcome.reference.curves.items():
        np.testing.assert_array_equal(curve, alone.curves[name])
    # Both start at the same parameters.
    assert outcome.curves["loss"][0, 0] == alone.curves["loss"][0, 0]
    assert outcome.curves["loss"][-1, -1] != alone.curves["loss"][-1, -1]


def test_report_has_both_rules(compared):
    outcome, out = compared
    report = (out / "report.html").read_text("utf-8")
    assert "sgd, held out" in report
    for rule, curves in outcome.trainings:
        cells = [rule, f"{curves['loss'][-1].mean():.4f}", f"{curves['test_loss'][-1]:.4f}"]
        assert "".join(f"<td>{cell}</td>" for cell in cells) in report
    assert "sgd ends at a held-out loss of" in outcome.summary
