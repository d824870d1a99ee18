"""A headless Chromium, driven by its own protocol through two pipes."""

import base64
import functools
import http.server
import itertools
import json
import os
import select
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-sync",
    "--disable-component-update",
    "--disable-background-networking",
    "--no-first-run",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
)


ON_PIPES = """if True:
    import fcntl, os, sys
    pipes = [fcntl.fcntl(int(fd), fcntl.F_DUPFD, 10) for fd in sys.argv[1:3]]
    os.dup2(pipes[0], 3), os.dup2(pipes[1], 4)
    os.execv(sys.argv[3], sys.argv[3:])
"""
"""Chromium reads commands from descriptor 3, and writes answers to 4."""


def executable() -> str | None:
    """Returns the path of an installed Chromium or Chrome."""
    return next(
        filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
    )


class Page:
    """One tab: opens addresses, evaluates JavaScript, and records errors."""

    def __init__(self, commands: int, answers: int) -> None:
        self._commands, self._answers = commands, answers
        self._numbers, self._received = itertools.count(1), b""
        self._session: str | None = None
        self.errors: list[str] = []
        self.loaded = 0
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.send("Target.attachToTarget", targetId=target, flatten=True)[
            "sessionId"
        ]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")

    def send(self, method: str, **params: object) -> dict:
        """Sends a command and returns its result."""
        message = {"id": next(self._numbers), "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == message["id"]:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return answer["result"]

    def _next(self) -> dict:
        while b"\0" not in self._received:
            if not select.select([self._answers], [], [], 60)[0]:
                raise TimeoutError("Chromium has not answered for a minute.")
            part = os.read(self._answers, 1 << 20)
            if not part:
                raise RuntimeError("Chromium has ended.")
            self._received += part
        line, _, self._received = self._received.partition(b"\0")
        message = json.loads(line)
        self._remember(message.get("method"), message.get("params", {}))
        return message

    def _remember(self, method: str | None, params: dict) -> None:
        if method == "Page.loadEventFired":
            self.loaded += 1
        if method == "Runtime.exceptionThrown":
            self.errors.append(str(params["exceptionDetails"]))
        if method == "Log.entryAdded" and params["entry"]["level"] == "error":
            self.errors.append(f"{params['entry']['text']} {params['entry'].get('url', '')}")
        if method == "Runtime.consoleAPICalled" and params["type"] in ("error", "assert"):
            self.errors.append(str(params["args"]))
        if method == "Network.requestWillBeSent":
            url = params["request"]["url"]
            if not url.startswith(("http://127.0.0.1:", "data:", "about:", "blob:")):
                self.errors.append(f"asks the network for {url}")

    def window(self, width: int, height: int = 900, scheme: str = "light") -> None:
        """Sets the size of the window, and the scheme of colours that the system prefers."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.send("Emulation.setDeviceMetricsOverride", **size)
        feature = {"name": "prefers-color-scheme", "value": scheme}
        self.send("Emulation.setEmulatedMedia", features=[feature])

    def open(self, url: str) -> None:
        """Loads an address, and waits for the end of it."""
        before = self.loaded
        self.send("Page.navigate", url=url)
        while self.loaded == before:
            self._next()

    def evaluate(self, script: str) -> object:
        """Returns the value of an expression in the page."""
        result = self.send("Runtime.evaluate", expression=script, returnByValue=True)
        if "exceptionDetails" in result:
            raise RuntimeError(result["exceptionDetails"])
        return result["result"].get("value")

    def wait_for(self, script: str, seconds: float = 20.0) -> object:
        """Returns the first true value of an expression."""
        end = time.monotonic() + seconds
        while not (value := self.evaluate(script)):
            if time.monotonic() > end:
                raise TimeoutError(script)
            time.sleep(0.05)
        return value

    def screenshot(self, path: Path, full: bool = False) -> None:
        """Writes a picture of the window, or of the whole page."""
        shot = self.send("Page.captureScreenshot", captureBeyondViewport=full)
        path.write_bytes(base64.b64decode(shot["data"]))


@contextmanager
def chromium(profile: Path) -> Iterator[Page]:
    """Starts Chromium with an empty profile, and yields a page of it."""
    there, commands = os.pipe()
    answers, back = os.pipe()
    command = [sys.executable, "-c", ON_PIPES, str(there), str(back)]
    command += [executable(), *FLAGS, f"--user-data-dir={profile}"]
    with subprocess.Popen(
        command, pass_fds=(there, back), stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    ) as process:
        os.close(there), os.close(back)
        try:
            yield Page(commands, answers)
        finally:
            process.terminate()
            process.wait()
            os.close(commands), os.close(answers)


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Logs nothing."""


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Serves a folder, and yields its address."""
    handler = functools.partial(_Quiet, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
