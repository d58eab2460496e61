"""The page on a chip of one's own, executed as a reader would."""

import pathlib
import re

TEXT = (pathlib.Path(__file__).parents[1] / "BRING_YOUR_CHIP.md").read_text()
EXAMPLES = re.findall(r"```python\n(.*?)```", TEXT, flags=re.DOTALL)


def test_the_page_runs_and_compares_what_it_says(capsys):
    names = {"__name__": "bring_your_chip"}
    for example in EXAMPLES:
        exec(compile(example, "BRING_YOUR_CHIP.md", "exec"), names)
    assert names["compared"] > 2_000_000
    assert "integers are equal" in capsys.readouterr().out
    # The page's sums do reach the end of 24 bits, so that their saturation is compared too.
    sums = names["x"].astype(int) @ names["kernel"].astype(int)
    assert abs(sums).max() >= 2**23
    off_chip = names["off_chip"]
    assert off_chip
    assert all(operator.layer.startswith("joint") for operator in off_chip)
    assert all(operator.on_cpu for operator in off_chip)
