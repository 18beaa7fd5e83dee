"""A browser for tests: Chromium through chromedriver, spoken to in WebDriver JSON over HTTP. Standard library only."""
import base64
import contextlib
import json
import os
import shutil
import subprocess
import tempfile
import time
import urllib.error
import urllib.request

ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync", "--hide-scrollbars", "--disable-dev-shm-usage"]


class WebDriverError(Exception):
    pass


def missing():
    """Name of the program that is not installed, or None."""
    for names in (("chromedriver",), ("chromium", "chromium-browser", "google-chrome")):
        if not any(shutil.which(n) for n in names):
            return names[0]
    return None


class Browser:
    """One headless Chromium with a fresh profile. Use as a context manager: both programs end with it."""

    def __init__(self, width=1280, height=800, dark=False, insecure=False):
        self.folder = tempfile.mkdtemp(prefix="portreeve-browser-")
        self.log = open(os.path.join(self.folder, "chromedriver.log"), "wb+")
        self.process = subprocess.Popen(["chromedriver", "--port=0"], stdout=subprocess.PIPE, stderr=self.log, cwd=self.folder)
        self.session = None
        try:
            self.base = "http://127.0.0.1:%d" % self._port()
            self._start(width, height, dark, insecure)
        except BaseException:
            self.close()
            raise

    def _port(self):
        # "ChromeDriver was started successfully on port 12345."
        for raw in self.process.stdout:
            line = raw.decode("utf-8", "replace")
            if "successfully on port" in line:
                return int("".join(c for c in line.rsplit("successfully on port", 1)[1] if c.isdigit()))
        raise WebDriverError("chromedriver ended without naming its port")

    def _start(self, width, height, dark, insecure):
        flags = FLAGS + ["--user-data-dir=" + os.path.join(self.folder, "profile"), "--window-size=%d,%d" % (width, height)]
        flags += ["--force-dark-mode", "--blink-settings=preferredColorScheme=0"] if dark else []
        options = {"args": flags, "binary": next(p for n in ("chromium", "chromium-browser", "google-chrome") if (p := shutil.which(n)))}
        wanted = {"browserName": "chrome", "acceptInsecureCerts": insecure, "goog:chromeOptions": options}
        for attempt in range(3):
            try:
                self.session = self._call("POST", "/session", {"capabilities": {"alwaysMatch": wanted}}, timeout=90)["sessionId"]
                break
            except (WebDriverError, OSError):
                if attempt == 2:
                    raise
        self.size(width, height)

    def _call(self, method, path, body=None, timeout=60):
        data = json.dumps(body or {}).encode() if method == "POST" else None
        request = urllib.request.Request(self.base + path, data=data, method=method, headers={"Content-Type": "application/json"})
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=timeout) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as fault:
            value = json.load(fault).get("value", {})
            raise WebDriverError("%s: %s" % (value.get("error"), (value.get("message") or "").split("\n")[0])) from None

    def call(self, method, path, body=None):
        return self._call(method, "/session/" + self.session + path, body)

    def size(self, width, height):
        """The viewport's size in CSS pixels, whatever the window's least width is."""
        self.call("POST", "/goog/cdp/execute", {"cmd": "Emulation.setDeviceMetricsOverride",
                  "params": {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}})

    def go(self, url):
        self.call("POST", "/url", {"url": url})

    @property
    def url(self):
        return self.call("GET", "/url")

    @property
    def title(self):
        return self.call("GET", "/title")

    def js(self, script, *args):
        return self.call("POST", "/execute/sync", {"script": script, "args": list(args)})

    def find(self, css):
        return self.call("POST", "/element", {"using": "css selector", "value": css})[ELEMENT]

    def all(self, css):
        return [e[ELEMENT] for e in self.call("POST", "/elements", {"using": "css selector", "value": css})]

    def text(self, css):
        return self.call("GET", "/element/%s/text" % self.find(css))

    def texts(self, css):
        return self.js("return Array.from(document.querySelectorAll(arguments[0])).map(e => e.textContent.trim())", css)

    def type(self, css, text):
        element = self.find(css)
        self.call("POST", "/element/%s/clear" % element)
        self.call("POST", "/element/%s/value" % element, {"text": text})

    def click(self, css):
        """Click, and wait until the page it leads to has loaded."""
        self.js("document.documentElement.dataset.old = '1'")
        self.call("POST", "/element/%s/click" % self.find(css))
        self.wait("return document.readyState === 'complete' && !document.documentElement.dataset.old")

    def wait(self, condition, seconds=30):
        """Until the script's value is true."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            with contextlib.suppress(WebDriverError):
                if self.js(condition):
                    return
            time.sleep(0.05)
        raise WebDriverError("still not true after %d s: %s (at %s)" % (seconds, condition, self.url))

    def cookies(self):
        return {c["name"]: c for c in self.call("GET", "/cookie")}

    def shot(self, path, whole=True):
        """A picture of the page: all of it, or (whole = a number) at most that many pixels of its height."""
        box = self.call("POST", "/goog/cdp/execute", {"cmd": "Page.getLayoutMetrics", "params": {}})["cssContentSize"]
        height = box["height"] if whole is True else min(box["height"], whole)
        params = {"format": "png", "captureBeyondViewport": True,
                  "clip": {"x": 0, "y": 0, "width": box["width"], "height": height, "scale": 1}}
        picture = self.call("POST", "/goog/cdp/execute", {"cmd": "Page.captureScreenshot", "params": params})["data"]
        with open(path, "wb") as out:
            out.write(base64.b64decode(picture))

    def faults(self):
        """What the browser itself complained about: refused resources, CSP violations."""
        return [e["message"] for e in self.call("POST", "/se/log", {"type": "browser"}) if e["level"] in ("SEVERE", "WARNING")]

    def close(self):
        if self.session:
            with contextlib.suppress(WebDriverError, OSError):
                self._call("DELETE", "/session/" + self.session)
            self.session = None
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()
        self.log.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
