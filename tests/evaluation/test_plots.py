"""Plots are looked at by people; here they must draw what they are given, at the right places."""

import itertools

import matplotlib.figure
import numpy as np
import pytest

from rnnt_qat.evaluation import plots
from rnnt_qat.evaluation.plots import plot_emissions, plot_training_curves, plot_wer_bars
from rnnt_qat.frontend.log_mel import LogMelConfig
from rnnt_qat.latency import latency_plots
from rnnt_qat.report import figures
from tests.evaluation.test_report import CHIP, FLOAT, make_result


@pytest.fixture
def saved(monkeypatch, tmp_path):
    """Paths handed out; the last figure saved is kept for inspection."""
    figures = []
    save = matplotlib.figure.Figure.savefig

    def keep(figure, path, **kw):
        figures.append(figure)
        save(figure, path, **kw)
        assert path.read_bytes().startswith(b"\x89PNG")

    monkeypatch.setattr(matplotlib.figure.Figure, "savefig", keep)
    return tmp_path / "plot.png", figures


@pytest.mark.parametrize("module", [plots, figures, latency_plots])
def test_twenty_systems_are_told_apart(module):
    colours = module._COLOURS if module is latency_plots else module.COLOURS
    signs = zip(itertools.cycle(colours), itertools.cycle(module._MARKERS), strict=False)
    assert len(set(itertools.islice(signs, 20))) == 20


def test_emissions(saved):
    path, figures = saved
    audio = np.random.default_rng(0).normal(0, 0.1, 32_000)
    utterance = FLOAT.utterances[0]
    plot_emissions(path, audio, LogMelConfig(), FLOAT, utterance)
    tokens, mel = figures[0].axes
    assert [t.get_text() for t in tokens.texts] == list(utterance.hypothesis.replace(" ", "␣"))
    times = [t.get_position()[0] * 1000 for t in tokens.texts]
    np.testing.assert_allclose(times, FLOAT.token_times_ms(utterance))
    assert mel.images[0].get_array().shape == (80, 200)
    plot_emissions(path, audio, LogMelConfig(), FLOAT, FLOAT.utterances[2])  # nothing heard


def test_training_curves(saved):
    path, figures = saved
    records = [{"step": s, "stage": "float" if s < 60 else "aware", "loss": 100 / s}
               for s in range(10, 100, 10)]  # fmt: skip
    records += [
        {"step": 50, "stage": "float", "dev/wer": 0.5, "dev/wer_low": 0.4, "dev/wer_high": 0.6},
        {"step": 90, "stage": "aware", "dev/wer": 0.25},
    ]
    plot_training_curves(path, records)
    loss, wer = figures[0].axes
    np.testing.assert_allclose(
        loss.lines[0].get_xydata()[:, 1], [100 / s for s in range(10, 100, 10)]
    )
    np.testing.assert_allclose(wer.lines[0].get_xydata(), [[50, 0.5], [90, 0.25]])
    assert [t.get_text() for t in wer.get_legend().texts] == ["dev: 25.0 % at the end"]
    assert loss.get_title(loc="right") == "float, aware from 50"  # its first record is at 60
    plot_training_curves(path, records[:1])
    plot_training_curves(path, records[-1:])
    assert [len(figure.axes) for figure in figures] == [2, 1, 1]  # no empty panel
    with pytest.raises(ValueError, match="nothing to plot"):
        plot_training_curves(path, [{"step": 1, "stage": "float"}])


@pytest.mark.parametrize("last", [95.0, 25.0, 1.0])
def test_the_axis_of_the_loss_has_labels_in_sight(saved, last):
    path, figures = saved
    losses = np.linspace(145.0, last, 5)
    plot_training_curves(path, [{"step": s, "stage": "a", "loss": v} for s, v in enumerate(losses)])
    (axes,) = figures[0].axes
    low, high = axes.get_ylim()
    assert sum(low <= tick <= high for tick in axes.get_yticks()) >= 3


def test_wer_bars(saved):
    path, figures = saved
    plot_wer_bars(path, [FLOAT, CHIP, make_result("float32", GOOD_ELSEWHERE, test_set="synthetic")])
    prompts, synthetic = figures[0].axes
    assert [t.get_text() for t in prompts.get_yticklabels()] == ["float32", "w8a8"]
    lengths = [patch.get_width() for patch in prompts.patches]
    np.testing.assert_allclose(sum(lengths[:3]), FLOAT.wer.value)
    np.testing.assert_allclose(sum(lengths[3:]), CHIP.wer.value)
    assert prompts.get_xlim() == synthetic.get_xlim()
    assert prompts.get_xlim()[1] > CHIP.wer.high
    assert synthetic.get_title(loc="left") == "synthetic (80 words)"


GOOD_ELSEWHERE = ["the cat", "a dog ran past", "", "night"] * 10
