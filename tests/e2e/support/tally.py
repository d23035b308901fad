"""A Tally server of a test's own: a fresh data folder, a free port, known projects and secret."""

import base64
import hashlib
import hmac
import http.client
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request

BINARY = os.environ.get("TALLY_BIN", "")
SECRET = "e2e-secret-of-at-least-thirty-two-bytes"
START_SECONDS = 60
STOP_SECONDS = 60

# Write keys are those of the captured SDKs, so that captures are replayed byte for byte.
PROJECTS = {
    "site": ["site-app"],
    "stranger": ["stranger-app"],
    "jitsu": ["js.p1.key", "s2s.p1.key"],
    "snowplow": ["shop"],
    "gitlab": ["app-id-123"],
    "sdk-jitsu": ["sdk-jitsu-key"],
    "sdk-snowplow-node": ["sdk-snowplow-node-key"],
    "sdk-snowplow-python": ["sdk-snowplow-python-key"],
    "sdk-gitlab-python": ["sdk-gitlab-python-key"],
    "sdk-gitlab-browser": ["sdk-gitlab-browser-key"],
    "sdk-gitlab-anonymous": ["sdk-gitlab-anonymous-key"],
}

FUNNELS = {
    "completed_purchase.yaml": ("completed_purchase", 3600, ["/page1.html", "/page2.html", "/page3.html"]),
    "signup_flow.yaml": ("signup_flow", 1800, ["/", "/pricing", "/docs/start"]),
}


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_until(condition, what, seconds=30):
    """Polls until `condition()` is true; fails by name when it is not true in time."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not happen within {seconds} s")
        time.sleep(0.02)


def token(project, seconds=180, secret=SECRET):
    def part(value):
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=")

    now = int(time.time())
    signed = part({"alg": "HS256", "typ": "JWT"}) + b"." + part({"iat": now, "exp": now + seconds, "appId": project})
    digest = hmac.new(secret.encode(), signed, hashlib.sha256).digest()
    return (signed + b"." + base64.urlsafe_b64encode(digest).rstrip(b"=")).decode()


class Tally:
    """One server; `start`, `stop` and `kill` may be called again and again on the same data."""

    def __init__(self, settings=None, folder=None):
        if not BINARY:
            raise RuntimeError("TALLY_BIN is not set: start the suites through tests/e2e/run")
        self.folder = pathlib.Path(folder or tempfile.mkdtemp(prefix="tally-e2e-"))
        self.data_dir = self.folder / "data"
        self.models_dir = self.folder / "models"
        self.log_path = self.folder / "server.log"
        self.settings = settings or {}
        self.process = None
        self.port = None
        self._write_projects()
        self._write_funnels()

    def _write_projects(self):
        self.data_dir.mkdir(parents=True, exist_ok=True)
        projects = [
            {"id": name, "name": name, "write_keys": keys, "created_at": "2024-01-01T00:00:00Z"}
            for name, keys in PROJECTS.items()
        ]
        path = self.data_dir / "projects.json"
        path.write_text(json.dumps({"projects": projects}))
        path.chmod(0o600)

    def _write_funnels(self):
        folder = self.models_dir / "funnels"
        folder.mkdir(parents=True, exist_ok=True)
        for file_name, (name, seconds, targets) in FUNNELS.items():
            steps = "".join(
                f"  - name: step_{n}\n    target: '{target}'\n    action: 'pageview'\n"
                for n, target in enumerate(targets, 1)
            )
            (folder / file_name).write_text(f"name: {name}\nseconds_to_convert: {seconds}\nsteps:\n{steps}")

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def spawn(self, port):
        """Starts a process on this data without waiting for it."""
        environment = {key: value for key, value in os.environ.items() if not key.startswith(("TALLY_", "CUBEJS_"))}
        environment.update(
            TALLY_LISTEN=f"127.0.0.1:{port}",
            TALLY_DATA_DIR=str(self.data_dir),
            TALLY_MODELS_DIR=str(self.models_dir),
            TALLY_API_SECRET=SECRET,
            **{f"TALLY_{key.upper()}": str(value) for key, value in self.settings.items()},
        )
        with open(self.log_path, "ab") as log:
            return subprocess.Popen([BINARY, "serve"], env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def start(self):
        self.port = self.port or free_port()
        self.process = self.spawn(self.port)
        wait_until(self._is_ready, f"an answer of {self.url}/readyz", START_SECONDS)
        return self

    def _is_ready(self):
        if self.process.poll() is not None:
            raise AssertionError(f"the server ended with code {self.process.returncode}:\n{self.log()}")
        try:
            with urllib.request.urlopen(f"{self.url}/readyz", timeout=5) as reply:
                return reply.status == 200
        except (urllib.error.URLError, ConnectionError, http.client.HTTPException, OSError):
            return False

    def log(self, characters=6000):
        return self.log_path.read_text(errors="replace")[-characters:] if self.log_path.exists() else ""

    def stop(self):
        """SIGTERM; returns the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(STOP_SECONDS)

    def kill(self):
        """kill -9, as a crash does."""
        self.process.kill()
        self.process.wait()

    def remove(self):
        if self.process and self.process.poll() is None:
            self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self):
        try:
            return self.start()
        except BaseException:
            self.remove()
            raise

    def __exit__(self, kind, error, trace):
        if kind is not None:
            print(f"--- last lines of the server's log ---\n{self.log()}")
        self.remove()

    def load(self, project, query):
        """The rows of a query."""
        body = json.dumps({"query": query}).encode()
        headers = {"authorization": token(project), "content-type": "application/json"}
        request = urllib.request.Request(f"{self.url}/cubejs-api/v1/load", body, headers)
        try:
            with urllib.request.urlopen(request, timeout=60) as reply:
                return json.load(reply)["data"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{error.code} for {query}: {error.read().decode(errors='replace')}") from None

    def meta(self, project):
        """The model as clients see it."""
        request = urllib.request.Request(f"{self.url}/cubejs-api/v1/meta", headers={"authorization": token(project)})
        with urllib.request.urlopen(request, timeout=60) as reply:
            return json.load(reply)

    def count(self, project, measure="TrackedEvents.count", **query):
        return int(self.load(project, {"measures": [measure], **query})[0][measure])

    def id_counts(self, project):
        """How often each event id is stored."""
        member, measure = "TrackedEvents.eventId", "TrackedEvents.count"
        rows = self.load(project, {"dimensions": [member], "measures": [measure], "limit": 50000})
        return {row[member]: int(row[measure]) for row in rows}
