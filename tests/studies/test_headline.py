"""The headline table of a comparison on chips."""

import dataclasses

from rnnt_qat.latency.latency_report import LatencyRow
from rnnt_qat.studies.headline import headline_table
from tests.studies.test_sweep import result


def row(**own):
    return LatencyRow(**({field.name: 1.0 for field in dataclasses.fields(LatencyRow)} | own))


def test_each_line_has_its_errors_and_the_figures_of_the_shown_chip_and_chunk():
    float_result = result("float", ("one two", "three", "four five six"))
    worse = result("chip", ("one", "two", "four five six"))
    test_set = float_result.test_set
    shown = dict(test_set=test_set, system="chip", target="u55", npu_share=0.5)
    rows = [
        row(**shown, chunk_frames=1, weight_bytes=2048, ms_per_second=9.0),
        row(**shown, chunk_frames=4, weight_bytes=1024, ms_per_second=3.25),
        row(**{**shown, "target": "u65"}, chunk_frames=4, weight_bytes=4096, ms_per_second=1.0),
    ]
    table = headline_table([float_result, worse], rows, "u55", 4).splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in table]
    assert cells[0][-1] == "u55: ms per s of audio"
    assert cells[2][:2] == [f"{test_set}: 3 utterances, 6 words", "float"]
    assert cells[2][2].startswith("0.0 %")
    assert cells[2][3:] == ["baseline", "0.0 %", "-", "-", "-"]
    assert cells[3][:2] == ["", "chip"]
    assert cells[3][2].startswith("33.3 %")  # one deletion and one substitution of six words
    assert cells[3][3].strip("*").startswith("+33.3 [")
    assert cells[3][4:] == ["16.7 %", "1", "50 %", "3.2"]
