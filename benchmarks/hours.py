"""Validation word error rates against the hours of audio that training has processed.

    python -m benchmarks.hours --workdir=workdir/assistant --output=benchmarks/figures/hours.png

and of its training through a chip, which began after 165 hours, in the same plot:

    python -m benchmarks.hours --workdir=workdir/assistant,workdir/chips/model_0/ethos_u_8x8_16_w4 \
        --before=0,165

Reads ``metrics.jsonl`` and ``throughput.jsonl`` of each run; the hours of a step are those of real
audio, without padding.
"""

import itertools
import json
import pathlib

from absl import flags

from rnnt_qat.infra import program

_WORKDIRS = flags.DEFINE_list("workdir", None, "Training runs, by comma.", required=True)
_OUTPUT = flags.DEFINE_string("output", "hours.png", "PNG file to write.")
_BEFORE = flags.DEFINE_list(
    "before", ["0"], "Hours that the model had processed with which each run began."
)

_STYLES = ("-", "--", ":", "-.", (0, (1, 4)))


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


def main() -> None:
    """Prints the table and writes the plot."""
    from matplotlib.figure import Figure

    from rnnt_qat.evaluation.plots import COLOURS, INK

    runs, before = _WORKDIRS.value, [float(hours) for hours in _BEFORE.value]
    before += [before[-1]] * (len(runs) - len(before))
    figure = Figure(figsize=(9, 3.8), layout="constrained")
    left, right = figure.subplots(1, 2)
    colours = dict[str, tuple[str, str]]()
    print("| run | validation set | hours of audio: WER |\n|---|---|---|")
    for run, hours, style in zip(runs, before, itertools.cycle(_STYLES), strict=False):
        found = curves(pathlib.Path(run), hours)
        losses = found.pop("", [])
        groups = [losses[i : i + 5] for i in range(0, len(losses), 5)]
        smooth = [(group[-1][0], sum(loss for _, loss in group) / len(group)) for group in groups]
        name = pathlib.Path(run).name
        if smooth:
            left.plot(
                *zip(*smooth, strict=True), linestyle=style, color=INK, linewidth=1.2, label=name
            )
        for test_set, points in found.items():
            label = None if test_set in colours else test_set  # once; lines tell the runs apart
            colour, marker = colours.setdefault(
                test_set, (COLOURS[len(colours) % len(COLOURS)], "osD^"[len(colours) % 4])
            )
            right.plot(
                *zip(*points, strict=True),
                linestyle=style,
                color=colour,
                marker=marker,
                markersize=5,
                markerfacecolor=colour if style == "-" else "white",
                label=label,
            )
            by_hour = ", ".join(f"{h:.0f} h: {wer:.1f} %" for h, wer in points)
            print(f"| {name} | {test_set} | {by_hour} |")
    left.set_ylabel("training loss, nats a label")
    right.set_ylabel("validation WER, %")
    right.set_ylim(0)
    figure.legend(loc="outside upper right", ncols=3, frameon=False, fontsize=7)
    for panel in (left, right):
        panel.set_xlabel("hours of audio processed")
        panel.grid(axis="y", color="#eeeeee")
        panel.spines[["top", "right"]].set_visible(False)
    figure.savefig(_OUTPUT.value, dpi=130)


if __name__ == "__main__":
    program.run(main)
