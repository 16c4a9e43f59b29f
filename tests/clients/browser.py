"""A headless Chromium that opens a page of ours, and the web server that has the page and hears how it went."""

import functools
import http.server
import json
import pathlib
import queue
import shutil
import subprocess
import threading
import urllib.parse

RUN_S = 60
STOP_S = 10
PAGES = pathlib.Path(__file__).parent / "web"
MODULE = pathlib.Path(__file__).parents[1] / "node_modules/mqtt/dist/mqtt.min.js"


class Pages(http.server.SimpleHTTPRequestHandler):
    """The pages in `web`, MQTT.js, and a place for results."""

    def __init__(self, results, *arguments):
        self._results = results
        super().__init__(*arguments, directory=str(PAGES))

    def translate_path(self, path):
        return str(MODULE) if path == "/mqtt.min.js" else super().translate_path(path)

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self._results.put(json.loads(body))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_arguments):
        """Nobody wants to know."""


class Browser:
    """Opens pages one after the other, each in a Chromium of its own."""

    def __init__(self, folder, believed_keys):
        assert MODULE.is_file(), "MQTT.js is not installed: run these tests with tests/run"
        self._folder = folder
        self._believed_keys = believed_keys
        self._results = queue.Queue()
        self._server = http.server.ThreadingHTTPServer(
            ("127.0.0.1", 0), functools.partial(Pages, self._results)
        )
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def result(self, page, **question):
        """What the page posts."""
        host, port = self._server.server_address
        address = f"http://{host}:{port}/{page}?{urllib.parse.urlencode(question)}"
        profile = self._folder / f"profile-{question['root']}"
        log = self._folder / "chromium.log"
        command = [
            self._program(), "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
            "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync",
            f"--user-data-dir={profile}",
            # Certificates of our own making, by their keys, and no others.
            f"--ignore-certificate-errors-spki-list={','.join(self._believed_keys)}",
            "--remote-debugging-port=0", address,
        ]
        with log.open("wb") as output:
            child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        try:
            return self._results.get(timeout=RUN_S)
        except queue.Empty:
            raise AssertionError(f"the page said nothing within {RUN_S} s; {log.read_text()[-2000:]}") from None
        finally:
            child.terminate()
            child.wait(STOP_S)

    @staticmethod
    def _program():
        found = shutil.which("chromium") or shutil.which("chromium-browser")
        assert found, "Chromium is not installed: run these tests with tests/run"
        return found

    def stop(self):
        self._server.shutdown()
        self._thread.join(STOP_S)
        self._server.server_close()
