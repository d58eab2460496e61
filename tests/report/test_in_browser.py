"""The report in a real browser: mouse, keys, audio and colours."""

import asyncio

import pytest

from rnnt_qat.report import page
from rnnt_qat.report.stored_run import StoredRun
from tests.live import browser
from tests.report.stored import BAD, GOOD, recordings, write_run

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(browser.CHROMIUM is None, reason="no Chromium is installed"),
]

ROWS = "[...document.querySelectorAll('.row')].map(r => r.firstChild.textContent)"
CELLS = """[...document.querySelectorAll('.alignment tr')].map(
  row => [...row.children].slice(2).map(cell => cell.textContent))"""
COLOURS = """Object.fromEntries([...document.querySelectorAll('.alignment tr:not(.ref) td')].map(
  cell => [cell.className.trim(), getComputedStyle(cell).backgroundColor]))"""
HEADS = "[...document.querySelectorAll('#listhead span')]"
HEAT_MAP = "document.querySelector('[data-section=arithmetic] .js-plotly-plot')"
CELL_OF_ROW = f"""(() => {{ const plot = {HEAT_MAP}, {{ xaxis, yaxis }} = plot._fullLayout,
  box = plot.getBoundingClientRect();
  return [box.x + xaxis._offset + xaxis.d2p(0), box.y + yaxis._offset + yaxis.d2p(ROW)]; }})()"""
HISTOGRAM = """(() => { const plot = document.querySelector('#histogram');
  return plot.data && [plot.layout.title.text.split(';')[0], plot.data[0].y,
                       plot.querySelectorAll('.bars .point').length]; })()"""
TOO_WIDE = """[...document.querySelectorAll('main *')].filter(e => {
  for (let up = e; up; up = up.parentElement)
    if (getComputedStyle(up).overflowX !== 'visible') return false;
  return e.getBoundingClientRect().right > innerWidth + 1; }).map(e => e.outerHTML.slice(0, 90))"""


async def searched_sorted_compared(tab):
    assert sorted(await tab.run(ROWS)) == sorted(f"utt/{i}" for i in range(12))
    await tab.click("$('search')")
    await tab.type("past DOG")
    assert await tab.run(ROWS) == ["utt/1", "utt/5", "utt/9"]
    await tab.run("$('search').value = ''")
    await tab.click("$('differ')")
    assert len(await tab.run(ROWS)) == 6  # of the four sentences two differ
    await tab.click("$('differ')")
    for order in (list(range(12))[::-1], list(range(12))):  # the recordings' lengths
        await tab.click(f"{HEADS}.find(h => h.title === 'seconds of audio')")
        assert await tab.run(ROWS) == [f"utt/{i}" for i in order]
    await tab.click(f"{HEADS}.find(h => h.title === 'word errors of bad')")
    first, *_, last = await tab.run(ROWS)
    assert (first, last) == ("utt/0", "utt/11")  # two errors, none

    await tab.click(f"[...document.querySelectorAll('.row')][({ROWS}).indexOf('utt/1')]")
    await tab.wait_for("document.querySelector('#detail h3').textContent === 'utt/1'")
    await tab.wait_for("document.querySelector('.alignment') !== null")
    assert await tab.run(CELLS) == [
        ["a", "dog", "ran", "past"],
        ["a", "dog", "ran", "past"],
        ["\u2014", "dog", "\u2014", "past"],
    ]
    await tab.click("document.querySelector('#pairs li[data-said]')")
    assert set(await tab.run(ROWS)) == {"utt/2", "utt/6", "utt/10"}


async def coloured(tab):
    found = {}
    for utterance in (0, 1):  # a substitution and an insertion; a deletion
        await tab.run(f"choose({utterance})")
        shown = f"document.querySelector('#detail h3').textContent === 'utt/{utterance}'"
        await tab.wait_for(f"{shown} && document.querySelector('.alignment') !== null")
        found |= await tab.run(COLOURS)
    assert {"e", "s", "d", "i"} <= found.keys()
    assert len({found[kind] for kind in "esdi"}) == 4


async def played(tab):
    await tab.run("choose(3)")
    await tab.wait_for("document.querySelector('#detail audio')?.duration > 0.4")
    await tab.wait_for("document.querySelector('.picture canvas') !== null")
    await tab.run("document.querySelector('#detail audio').play()")
    await tab.wait_for("document.querySelector('#detail audio').currentTime > 0.1")
    await tab.wait_for("document.querySelector('#playhead').offsetLeft > 0")


async def clicked(tab):
    await tab.run("document.querySelector('#arithmetic').scrollIntoView()")
    await tab.wait_for(f"{HEAT_MAP} !== null")
    assert await tab.wait_for(HISTOGRAM) == ["bad: encoder/lstm_0 cell, mul", [0, 75, 25], 3]
    await tab.click(CELL_OF_ROW.replace("ROW", "1"))
    await tab.wait_for(f"({HISTOGRAM})[0].includes('hidden')")
    assert (await tab.run(HISTOGRAM))[1:] == [[50, 50, 0], 3]


async def narrow(tab):
    for width in (1300, 900, 600):
        await tab.resize(width, 900)
        await tab.run("choose(1)")
        await tab.run("new Promise(done => setTimeout(done, 300))")
        assert await tab.run(TOO_WIDE) == []


@pytest.mark.parametrize(
    ("audio", "looks"),
    [
        (page.Audio.EMBED, [searched_sorted_compared, coloured, played, clicked, narrow]),
        (page.Audio.BESIDE, [played]),
    ],
)
def test_a_report_is(tmp_path, audio, looks):
    run = StoredRun.load(write_run(tmp_path / "report", good=GOOD, bad=BAD))
    path = page.write_page(tmp_path / "page.html", [run], recordings(), audio)

    async def opened():
        async with browser.tab() as tab:
            for look in looks:
                await tab.open(path.as_uri())
                await tab.wait_for("document.body.dataset.figures")
                await look(tab)
                assert tab.errors == []

    asyncio.run(opened())
