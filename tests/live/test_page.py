"""The live page in a real browser."""

import asyncio

import numpy as np
import pytest
import soundfile

from tests.live import browser
from tests.live.served import serving

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(browser.CHROMIUM is None, reason="no Chromium is installed"),
]


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
