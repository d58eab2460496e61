"""A headless Chromium, driven by its DevTools protocol."""

import asyncio
import base64
import contextlib
import json
import pathlib
import shutil
import subprocess
import tempfile

import websockets

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
"""Path of a browser; None if none is installed."""


class Tab:
    """A tab of the browser."""

    def __init__(self, socket):
        self._socket, self._number = socket, 0
        self.errors: list[str] = []

    async def call(self, method, **params):
        """Calls a method of the protocol and returns its result."""
        self._number += 1
        request = {"id": self._number, "method": method, "params": params}
        await self._socket.send(json.dumps(request))
        while True:
            answer = json.loads(await self._socket.recv())
            if answer.get("method") == "Runtime.exceptionThrown":
                details = answer["params"]["exceptionDetails"]
                self.errors.append(
                    details.get("exception", details).get("description", str(details))
                )
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                return answer["result"]

    async def run(self, script):
        """Evaluates JavaScript, as if the user had clicked, and returns its value."""
        result = await self.call(
            "Runtime.evaluate",
            expression=script,
            returnByValue=True,
            awaitPromise=True,
            userGesture=True,
        )
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    async def wait_for(self, script, seconds=60):
        """Waits until JavaScript gives something true, and returns it."""
        for _ in range(int(seconds / 0.1)):
            if value := await self.run(script):
                return value
            await asyncio.sleep(0.1)
        raise TimeoutError(f"{script} stayed false; errors of the page: {self.errors}")

    async def open(self, url):
        """Loads a page."""
        await self.call("Page.enable")
        await self.call("Runtime.enable")
        before = await self.run("performance.timeOrigin")
        await self.call("Page.navigate", url=url)
        another = f"performance.timeOrigin !== {before}"
        await self.wait_for(f"document.readyState === 'complete' && {another}")

    async def click(self, place):
        """Clicks with the mouse.

        Args:
          place: JavaScript that gives an element, whose centre is clicked, or ``[x, y]`` in pixels
            of the window.
        """
        x, y = await self.run(
            f"(() => {{ const at = {place}; if (Array.isArray(at)) return at;"
            " at.scrollIntoView({block: 'nearest'}); const box = at.getBoundingClientRect();"
            " return [box.x + box.width / 2, box.y + box.height / 2]; })()"
        )
        for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
            button = {} if kind == "mouseMoved" else {"button": "left", "clickCount": 1}
            await self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, **button)

    async def type(self, text):
        """Types a text where the focus is."""
        await self.call("Input.insertText", text=text)

    async def resize(self, width, height):
        """Gives the window another size in pixels."""
        await self.call(
            "Emulation.setDeviceMetricsOverride",
            **{"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False},
        )

    async def screenshot(self, path: pathlib.Path):
        """Writes a picture of what is visible."""
        result = await self.call("Page.captureScreenshot", format="png")
        path.write_bytes(base64.b64decode(result["data"]))


@contextlib.asynccontextmanager
async def tab(*flags, width=1300, height=900):
    """Starts a browser and yields its tab."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        process = subprocess.Popen(
            [
                CHROMIUM,
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--mute-audio",
                "--hide-scrollbars",
                "--remote-debugging-port=0",
                f"--user-data-dir={profile}",
                f"--window-size={width},{height}",
                *flags,
                "about:blank",
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            port_file = pathlib.Path(profile) / "DevToolsActivePort"
            for _ in range(600):
                if port_file.exists() and port_file.read_text().count("\n"):
                    break
                assert process.poll() is None, "the browser ended at once"
                await asyncio.sleep(0.1)
            port = port_file.read_text().splitlines()[0]
            tabs = await asyncio.to_thread(_tabs, port)
            address = next(t["webSocketDebuggerUrl"] for t in tabs if t["type"] == "page")
            async with websockets.connect(address, max_size=None) as socket:
                yield Tab(socket)
        finally:
            process.terminate()
            process.wait(20)


def _tabs(port):
    import urllib.request

    with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list") as answer:
        return json.load(answer)
