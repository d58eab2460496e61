"""Markdown tables as text for a terminal: aligned columns, headers wrapped to them."""

import textwrap
from collections.abc import Sequence

_GAP = "  "


def as_text(markdown: str) -> str:
    """Returns a Markdown table with aligned columns.

    The first column, which is empty where it repeats itself, becomes a line above its rows, and
    headers are wrapped, so that the table is little wider than its cells.

    Args:
      markdown: header, separator and rows; columns right of the second one are numbers.
    """
    header, _, *rows = (
        [cell.strip() for cell in line.strip().strip("|").split("|")]
        for line in markdown.strip().splitlines()
    )
    body = [row[1:] for row in rows]
    widths = [
        max(max(map(len, column)), *map(len, title.split()))
        for title, *column in zip(header[1:], *body, strict=True)
    ]
    titles = [textwrap.wrap(title, width) for title, width in zip(header[1:], widths, strict=True)]
    height = max(map(len, titles))
    above = [[""] * (height - len(title)) + title for title in titles]
    lines = [_line(cells, widths) for cells in zip(*above, strict=True)]
    for group, *cells in rows:
        if group:
            lines += ["", group]
        lines.append(_line(cells, widths))
    return "\n".join(lines)


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    (name, first), *numbers = zip(cells, widths, strict=True)
    padded = [name.ljust(first), *(cell.rjust(width) for cell, width in numbers)]
    return _GAP.join(padded).rstrip()
