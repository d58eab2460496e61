"""The live page and the report in a real browser."""

import asyncio

import numpy as np
import pytest
import soundfile

from rnnt_qat.report import page
from rnnt_qat.report.stored_run import StoredRun
from tests.live import browser
from tests.live.served import serving
from tests.report.stored import BAD, GOOD, recordings, write_run

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(browser.CHROMIUM is None, reason="no Chromium is installed"),
]

_CELLS = (
    "[...document.querySelectorAll('.alignment tr')].map("
    "row => [...row.children].slice(1).map(cell => cell.textContent))"
)


def test_a_fake_microphone_is_transcribed(tmp_path):
    audio = np.random.default_rng(0).normal(0, 6000, 16_000 * 4).astype(np.int16)
    soundfile.write(tmp_path / "speech.wav", audio, 16_000)
    flags = (
        "--autoplay-policy=no-user-gesture-required",
        "--use-fake-device-for-media-stream",
        "--use-fake-ui-for-media-stream",
        f"--use-file-for-fake-audio-capture={tmp_path / 'speech.wav'}",
    )

    async def try_it(port):
        async with browser.tab(*flags) as tab:
            await tab.open(f"http://127.0.0.1:{port}/")
            await tab.run("$('microphone').click()")
            heard = "[...views.values()].every(v => v.seconds >= 2)"
            await tab.wait_for(heard)
            text = await tab.run("document.querySelector('.text').textContent")
            drawn = await tab.run("session.scroll.frames.length")
            await tab.screenshot(tmp_path / "live.png")
            await tab.run("$('stop').click()")
            await tab.wait_for("session === null")
            status = await tab.run("$('status').textContent")
            assert tab.errors == []
            return text, drawn, status

    with serving(models={"one": None, "two": None}) as port:
        text, drawn, status = asyncio.run(try_it(port))
    assert len(text.split()) > 2
    assert drawn > 100
    assert status == "Done."
    assert (tmp_path / "live.png").stat().st_size > 10_000


def test_a_report_is_searched_sorted_and_played(tmp_path, monkeypatch):
    monkeypatch.setattr(page, "read_recordings", lambda *_: recordings())
    run = StoredRun.load(write_run(tmp_path / "report", good=GOOD, bad=BAD))
    for audio in (page.Audio.EMBED,):
        path = page.write_page(tmp_path / f"{audio.value}.html", [run], tmp_path, audio)

        async def look(path=path):
            async with browser.tab() as tab:
                await tab.open(path.as_uri())
                await tab.wait_for("document.body.dataset.figures")
                rows = "[...document.querySelectorAll('.row')].map(r => r.firstChild.textContent)"
                everything = await tab.run(rows)
                assert sorted(everything) == sorted(u.id for u in run.results[0].utterances)
                await tab.run("$('search').value = 'past DOG'; $('search').oninput()")
                assert await tab.run(rows) == ["utt/1", "utt/5", "utt/9"]
                await tab.run("$('search').value = ''; $('differ').checked = true; filter()")
                assert len(await tab.run(rows)) == 6  # of the four sentences two differ
                await tab.run(
                    "$('differ').checked = false; sorting = {by: 's', down: true}; filter()"
                )
                assert (await tab.run(rows))[0] == "utt/11"
                await tab.run("choose(1)")
                await tab.wait_for("document.querySelector('#detail audio')?.duration > 0.4")
                await tab.wait_for("document.querySelector('.picture canvas') !== null")
                assert await tab.run(_CELLS) == [
                    ["a", "dog", "ran", "past"],
                    ["a", "dog", "ran", "past"],
                    ["\u2014", "dog", "\u2014", "past"],
                ]
                await tab.run("document.querySelector('#pairs li[data-said]').click()")
                assert set(await tab.run(rows)) == {"utt/2", "utt/6", "utt/10"}
                assert tab.errors == []

        asyncio.run(look())
