"""A recognizer's three graphs, compiled, and the figures that follow."""

import dataclasses

import numpy as np
import pytest

from rnnt_qat.artefact.tensor_format import TensorFormat
from rnnt_qat.latency.chip_compilation import compile_recognizer
from rnnt_qat.latency.cpu_costs import CORTEX_M55, FALLBACK_OPERATORS
from rnnt_qat.latency.engine_latency import DecodeCounts
from rnnt_qat.latency.latency_report import (
    WordErrors,
    latency_row,
    latency_table,
    ratio_table,
    write_csv,
)
from rnnt_qat.latency.systems import Method, System
from rnnt_qat.latency.targets import U55_128
from rnnt_qat.latency.vela import VelaError
from tests.export.random_integers import random_dense, random_lstm, random_rnnt

COUNTS = DecodeCounts(np.array([1.0, 2.0]), np.array([9, 20]), np.array([3, 5]), np.array([12, 24]))
AWARE = System("AAT W8 16x8", Method.AWARE, "8", "16x8")
FALLBACK = System("CPU fallback W8A8, trained", Method.FALLBACK, "8", "16x8")


@pytest.mark.slow
def test_all_of_a_recognizer_is_on_the_npu_and_the_fallback_is_not(tmp_path):
    model = random_rnnt(np.random.default_rng(0), wide=True)
    one, three = compile_recognizer(model, (1, 3), U55_128, keep_in=tmp_path)
    assert [one.chunk_frames, three.chunk_frames] == [1, 3]
    assert one.npu_share == three.npu_share == 1
    assert {path.name for path in tmp_path.iterdir()} == {
        f"{graph}_u55-128.tflite" for graph in ("encoder_1", "encoder_3", "prediction", "joint")
    }
    assert one.weight_bytes == sum(g.original_weight_bytes for g in one.graphs)
    assert three.times().encoder_chunk_ms > one.times().encoder_chunk_ms
    (fallback,) = compile_recognizer(model, (1,), U55_128, FALLBACK_OPERATORS)
    assert 0 < fallback.npu_share < 0.7
    cheap, dear = (fallback.latency(COUNTS, costs).ms_per_second for costs in CORTEX_M55.bounds())
    assert one.latency(COUNTS).ms_per_second < cheap < dear

    wer = WordErrors(0.3, 0.2, 0.4)
    rows = [
        latency_row(FALLBACK, "speech:test", wer, fallback, COUNTS),
        latency_row(AWARE, "speech:test", wer, one, COUNTS),
    ]
    assert "| CPU fallback W8A8, trained | 1 | 30.0 % |" in latency_table(rows)
    (line,) = ratio_table(rows).splitlines()[2:]
    ratio = rows[1].ms_per_second / rows[0].ms_per_second
    assert f"| AAT W8 16x8 | {ratio:.2f} (" in line
    write_csv(rows, tmp_path / "rows.csv")
    assert len((tmp_path / "rows.csv").read_text().splitlines()) == 3


def test_a_layer_on_which_the_compiler_crashes_is_refused_by_name():
    rng = np.random.default_rng(0)
    model = random_rnnt(rng, wide=False)
    one = random_lstm(
        rng, 20, 1, wide=False, power_of_two=True, output_format=TensorFormat(np.int8, 2**-7)
    )
    projection = random_dense(rng, 1, 16, one.hidden, model.encoder.projection.output)
    layers = (*model.encoder.layers[:2], one)
    encoder = dataclasses.replace(model.encoder, layers=layers, projection=projection)
    model = dataclasses.replace(model, encoder=encoder)
    with pytest.raises(VelaError, match="encoder/lstm_2 has hidden_size=1"):
        compile_recognizer(model, [1], U55_128)
