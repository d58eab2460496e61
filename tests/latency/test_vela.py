"""Vela's report on small graphs, its refusals, and the host's costs."""

import dataclasses

import numpy as np
import pytest

from rnnt_qat.export.lstm_graphs import fused_lstm, lstm_step_16x8
from rnnt_qat.latency.cpu_costs import (
    CORTEX_M55,
    FALLBACK_OPERATORS,
    Estimate,
    call_time,
    sensitivity,
)
from rnnt_qat.latency.placement import Placement
from rnnt_qat.latency.targets import TARGETS, U55_128, U85_512
from rnnt_qat.latency.vela import VelaError, compile_graph
from tests.export.random_integers import random_lstm


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
@pytest.mark.parametrize("wide", [False, True], ids=["8x8_16", "16x8"])
def test_every_lstm_operator_is_on_every_npu(target, wide):
    layer = random_lstm(np.random.default_rng(0), 40, 64, wide)
    model = lstm_step_16x8(layer) if wide else fused_lstm(layer)
    report = compile_graph(model, "lstm", target)
    assert (report.npu_share, report.placement.npu_calls) == (1.0, 1)
    assert report.original_weight_bytes == 4 * 64 * (40 + 64)
    assert report.inference_ms == pytest.approx(
        1e3 * report.cycles_total / report.core_clock_hz, rel=1e-3
    )
    assert call_time(report).operators == 0


def test_fewer_distinct_weights_take_fewer_bytes_and_less_time():
    rng = np.random.default_rng(1)
    layer = random_lstm(rng, 256, 256, wide=True)
    coarse = {name: (getattr(layer, name) // 18 * 18).clip(-126, 126) for name in ("w_ih", "w_hh")}
    fine_report = compile_graph(lstm_step_16x8(layer), "fine", U55_128)
    coarse_report = compile_graph(
        lstm_step_16x8(dataclasses.replace(layer, **coarse)), "coarse", U55_128
    )
    assert coarse_report.encoded_weight_bytes < 0.6 * fine_report.encoded_weight_bytes
    assert coarse_report.inference_ms < 0.7 * fine_report.inference_ms


@pytest.mark.slow
def test_zeros_take_fewer_bytes_and_less_time():
    """Pruned weights, single ones and those of whole outputs, against dense ones."""
    rng = np.random.default_rng(3)
    layer = random_lstm(rng, 256, 256, wide=True)
    kept = {name: np.abs(getattr(layer, name)) > 101 for name in ("w_ih", "w_hh")}
    outputs = {name: np.arange(256)[None, :, None] % 5 == 0 for name in ("w_ih", "w_hh")}

    def report(masks):
        changed = {name: getattr(layer, name) * mask for name, mask in masks.items()}
        pruned = dataclasses.replace(layer, **changed)
        return compile_graph(lstm_step_16x8(pruned), "pruned", U55_128)

    dense = report({name: 1 for name in kept})
    for masks in (kept, outputs):
        assert all(0.15 < mask.mean() < 0.25 for mask in masks.values())
        zeros = report(masks)
        assert zeros.original_weight_bytes == dense.original_weight_bytes
        assert zeros.encoded_weight_bytes < 0.5 * dense.encoded_weight_bytes
        assert zeros.inference_ms < 0.6 * dense.inference_ms


def test_operators_kept_from_the_npu_cut_the_graph():
    layer = random_lstm(np.random.default_rng(2), 40, 64, wide=True)
    model = lstm_step_16x8(layer)
    report = compile_graph(model, "step", U85_512, on_cpu=FALLBACK_OPERATORS)
    placement = report.placement
    assert placement.cpu_calls == {"ADD": 2, "LOGISTIC": 3, "TANH": 2, "MUL": 3}
    assert placement.cpu_elements["LOGISTIC"] == 3 * 64
    assert placement.npu_calls >= 2
    assert placement.crossing_bytes > 0
    assert report.npu_share < 0.5
    time = call_time(report)
    assert time.total > time.npu > 0
    assert min(time.operators, time.conversion, time.transfer, time.synchronisation) > 0


def test_vela_speaks_for_itself_when_it_fails():
    with pytest.raises(VelaError, match=r"Vela on 'nothing' for u55-128 failed .*: \w+"):
        compile_graph(b"not a model", "nothing", U55_128)


def test_call_time_is_the_sum_of_the_table():
    placement = Placement(
        npu_calls=3,
        cpu_elements={"LOGISTIC": 10, "MUL": 20, "SPLIT": 40},
        cpu_calls={"LOGISTIC": 1, "MUL": 1, "SPLIT": 1},
        npu_to_cpu_elements=100,
        cpu_to_npu_elements=50,
        crossing_bytes=300,
    )
    report = _report_with(placement)
    costs = CORTEX_M55
    cycles = 10 * costs.sigmoid.value + 20 * costs.multiply.value + 40 * costs.other.value
    time = call_time(report, costs)
    assert time.operators == pytest.approx(cycles / 5e8 * 1e3)
    cycles = 100 * costs.dequantize.value + 50 * costs.quantize.value
    assert time.conversion == pytest.approx(cycles / 5e8 * 1e3)
    assert time.transfer == pytest.approx(300 * costs.crossing.value / 5e8 * 1e3)
    assert time.synchronisation == pytest.approx(3 * costs.call.value / 5e8 * 1e3)
    assert time.total == pytest.approx(
        time.npu + time.operators + time.conversion + time.transfer + time.synchronisation
    )


def test_sensitivity_moves_every_constant_and_orders_by_swing():
    placement = Placement(2, {"TANH": 1000}, {"TANH": 1}, 1000, 1000, 4000)
    report = _report_with(placement)
    rows = sensitivity(lambda costs: call_time(report, costs).total)
    assert {row.constant for row in rows} == {f.name for f in dataclasses.fields(CORTEX_M55)}
    swings = [abs(row.at_high - row.at_low) for row in rows]
    assert swings == sorted(swings, reverse=True)
    assert swings[0] > 0


def test_every_figure_lies_between_the_cheapest_and_the_dearest_host():
    report = _report_with(Placement(2, {"TANH": 1000, "SPLIT": 50}, {"TANH": 1}, 1000, 1000, 4000))
    low, high = (call_time(report, costs).total for costs in CORTEX_M55.bounds())
    for row in sensitivity(lambda costs: call_time(report, costs).total):
        assert low <= min(row.at_low, row.at_high) <= max(row.at_low, row.at_high) <= high


def test_an_estimate_outside_its_range_is_refused():
    with pytest.raises(ValueError, match="does not hold"):
        Estimate(3, 4, 5, "nowhere")


def _report_with(placement):
    from rnnt_qat.latency.vela import VelaReport

    numbers = {
        field.name: 1.0
        for field in dataclasses.fields(VelaReport)
        if field.name not in ("network", "target", "placement", "core_clock_hz")
    }
    return VelaReport(
        network="n", target=U55_128, placement=placement, core_clock_hz=5e8, **numbers
    )
