"""Validation word error rates against the hours of audio that training has processed.

    python -m benchmarks.hours --workdir=workdir/assistant --output=benchmarks/figures/hours.png

Reads ``metrics.jsonl`` and ``throughput.jsonl`` of a run; the hours of a step are those of real
audio, without padding.
"""

import itertools
import json
import pathlib

from absl import app, flags

_WORKDIR = flags.DEFINE_string("workdir", None, "A training run.", required=True)
_OUTPUT = flags.DEFINE_string("output", "hours.png", "PNG file to write.")
_BEFORE = flags.DEFINE_float("before", 0.0, "Hours that the model it began with had processed.")


def hours_by_step(workdir: pathlib.Path, before: float) -> dict[int, float]:
    """Returns the hours of audio processed until each logged step."""
    lines = (workdir / "throughput.jsonl").read_text().splitlines()
    rows = sorted((json.loads(line) for line in lines), key=lambda row: row["step"])
    found, hours, last = {0: before}, before, 0
    for row in rows:
        if "seconds_per_step" not in row:  # a record of compilations
            continue
        seconds = (row["step"] - last) * row["seconds_per_step"]
        hours += row["audio_hours_per_hour"] * seconds / 3600
        found[row["step"]] = hours
        last = row["step"]
    return found


def curves(workdir: pathlib.Path, before: float) -> dict[str, list[tuple[float, float]]]:
    """Returns ``(hours, WER)`` of each validation set, and the training loss per label."""
    hours = hours_by_step(workdir, before)
    found: dict[str, list[tuple[float, float]]] = {}
    for line in (workdir / "metrics.jsonl").read_text().splitlines():
        row = json.loads(line)
        at = hours.get(row["step"], max(hours.values()))
        for name, value in row.items():
            if name.endswith("/wer"):
                found.setdefault(name.removesuffix("/wer"), []).append((at, 100 * value))
            elif name == "loss_per_label":
                found.setdefault("", []).append((at, value))
    return found


def main(argv: list[str]) -> None:
    """Prints the table and writes the plot."""
    del argv
    from matplotlib.figure import Figure

    from rnnt_qat.evaluation.plots import COLOURS, INK

    found = curves(pathlib.Path(_WORKDIR.value), _BEFORE.value)
    losses = found.pop("", [])
    figure = Figure(figsize=(8, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    groups = [losses[i : i + 5] for i in range(0, len(losses), 5)]
    smooth = [(group[-1][0], sum(loss for _, loss in group) / len(group)) for group in groups]
    left.plot(*zip(*smooth, strict=True), color=INK, linewidth=1.2)
    left.set_ylabel("training loss, nats a label")
    print("| validation set | hours of audio: WER |\n|---|---|")
    signs = zip(itertools.cycle(COLOURS), itertools.cycle("osD^"))
    for (name, points), (colour, marker) in zip(found.items(), signs, strict=False):
        right.plot(
            *zip(*points, strict=True), color=colour, marker=marker, markersize=5, label=name
        )
        print(f"| {name} | {', '.join(f'{h:.0f} h: {wer:.1f} %' for h, wer in points)} |")
    right.set_ylabel("validation WER, %")
    right.set_ylim(0)
    figure.legend(loc="outside upper right", ncols=len(found), frameon=False, fontsize=8)
    for panel in (left, right):
        panel.set_xlabel("hours of audio processed")
        panel.grid(axis="y", color="#eeeeee")
        panel.spines[["top", "right"]].set_visible(False)
    figure.savefig(_OUTPUT.value, dpi=130)


if __name__ == "__main__":
    app.run(main)
