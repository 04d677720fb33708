"""A headless Chromium that is spoken to by pipe (the DevTools protocol), where there is one."""

import contextlib
import fcntl
import itertools
import json
import os
import select
import shutil
import subprocess
import time

PATH = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), "")
QUIET = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--disable-extensions"),
)


class Browser:
    """``open(url)`` a page, ``ask(expression)`` it, and see which ``requests`` it made."""

    def __init__(self, folder):
        here, theirs_out = os.pipe()
        theirs_in, there = os.pipe()

        def tie():
            high = [fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in (theirs_in, theirs_out)]
            os.dup2(high[0], 3), os.dup2(high[1], 4)

        self.process = subprocess.Popen(
            [PATH, *QUIET, "--remote-debugging-pipe", f"--user-data-dir={folder}"],
            preexec_fn=tie,
            close_fds=False,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(theirs_out), os.close(theirs_in)
        self.here, self.there, self.left = here, there, b""
        self.numbers, self.events, self.session = itertools.count(1), [], None

    def send(self, method, **params):
        number = next(self.numbers)
        asked = {"id": number, "method": method, "params": params}
        if self.session:
            asked["sessionId"] = self.session
        os.write(self.there, json.dumps(asked).encode() + b"\0")
        while True:
            one = self.next(30)
            if one.get("id") == number:
                assert "error" not in one, one["error"]
                return one["result"]
            self.events.append(one)

    def next(self, seconds):
        while b"\0" not in self.left:
            ready, _, _ = select.select([self.here], [], [], seconds)
            assert ready, "the browser does not answer"
            found = os.read(self.here, 1 << 20)
            assert found, "the browser has ended"
            self.left += found
        one, _, self.left = self.left.partition(b"\0")
        return json.loads(one)

    def open(self, url, width=1100, height=900):
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        found = self.send("Target.attachToTarget", targetId=target, flatten=True)
        self.session, self.events = found["sessionId"], []
        for domain in ("Page", "Network", "Log", "Runtime"):
            self.send(f"{domain}.enable")
        self.send("Emulation.setDeviceMetricsOverride", width=width, height=height,
                  deviceScaleFactor=1, mobile=width < 600)  # fmt: skip
        self.send("Page.navigate", url=url)
        end = time.monotonic() + 30
        while self.ask("document.readyState") != "complete" or self.ask("location.href") != url:
            assert time.monotonic() < end, f"{url} does not load"
            time.sleep(0.05)

    def ask(self, expression):
        found = self.send("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    @property
    def requests(self):
        self.ask("1")
        return [
            e["params"]["request"]["url"]
            for e in self.events
            if e.get("method") == "Network.requestWillBeSent"
        ]

    @property
    def complaints(self):
        self.ask("1")
        found = [e["params"] for e in self.events if e.get("method") == "Log.entryAdded"]
        thrown = [e["params"] for e in self.events if e.get("method") == "Runtime.exceptionThrown"]
        return [one["entry"]["text"] for one in found] + thrown

    def close(self):
        with contextlib.suppress(OSError):
            os.close(self.there)
        self.process.terminate()
        self.process.wait(20)
        os.close(self.here)
