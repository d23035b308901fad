"""What operators do to the data, by command line: with a running server and without one."""

import json
import os
import subprocess
import time
import unittest
import urllib.request

from support.tally import BINARY, PROJECTS, SECRET, Tally


class Command:
    """The command line on a server's data folder."""

    def __init__(self, tally):
        self.tally = tally

    def run(self, *arguments):
        environment = {key: value for key, value in os.environ.items() if not key.startswith(("TALLY_", "CUBEJS_"))}
        environment.update(
            TALLY_DATA_DIR=str(self.tally.data_dir), TALLY_MODELS_DIR=str(self.tally.models_dir), TALLY_API_SECRET=SECRET
        )
        environment.update({f"TALLY_{key.upper()}": str(value) for key, value in self.tally.settings.items()})
        return subprocess.run(
            [BINARY, *arguments], env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120
        )

    def __call__(self, *arguments):
        """The output of a command that must succeed."""
        done = self.run(*arguments)
        if done.returncode != 0:
            raise AssertionError(f"{arguments} ended with {done.returncode}: {done.stderr}\n{self.tally.log()}")
        return done.stdout

    def fails(self, *arguments):
        """What a command says that must fail."""
        done = self.run(*arguments)
        if done.returncode == 0:
            raise AssertionError(f"{arguments} succeeded: {done.stdout}")
        return done.stderr


def send(tally, events, project="site"):
    """Posts native events; the server's answer."""
    headers = {"X-Write-Key": PROJECTS[project][0], "content-type": "application/json"}
    request = urllib.request.Request(f"{tally.url}/v1/events", json.dumps(events).encode(), headers)
    with urllib.request.urlopen(request, timeout=60) as reply:
        return json.load(reply)


def views(prefix, count, user=None, **more):
    return [
        {"type": "page", "url": f"https://shop.example/{n}", "user_id": user or f"user-{n % 7}", "event_id": f"{prefix}{n}", **more}
        for n in range(count)
    ]


class WithAndWithoutAServer(unittest.TestCase):
    def test_a_command_is_done_by_the_server_or_by_itself(self):
        with Tally({"flush_interval_ms": 3_600_000}) as tally:
            command = Command(tally)
            send(tally, views("a-", 20))
            self.assertIn("20 rows", command("flush"), "by the server, which has them")
            send(tally, views("b-", 5))
            tally.kill()
            self.assertTrue((tally.data_dir / "server.json").exists(), "a crash leaves the file")
            self.assertIn("5 rows", command("flush"), "without a server, from the log")
            self.assertIn("0 merges", command("compact"))
            tally.start()
            self.assertEqual(tally.count("site"), 25)
            self.assertEqual(tally.stop(), 0, tally.log())
            self.assertFalse((tally.data_dir / "server.json").exists(), "a clean stop takes it away")

    def test_what_is_wrong_is_said(self):
        with Tally() as tally:
            command = Command(tally)
            other = dict(os.environ, TALLY_DATA_DIR=str(tally.data_dir), TALLY_API_SECRET="x" * 40)
            done = subprocess.run([BINARY, "flush"], env=other, capture_output=True, text=True, timeout=60)
            self.assertNotEqual(done.returncode, 0)
            self.assertIn("api_secret", done.stderr)
            self.assertIn("--data-dir", command.fails("flush", "--data-dir", str(tally.folder / "nowhere")))
            self.assertFalse((tally.folder / "nowhere").exists(), "nothing is made by mistake")


if __name__ == "__main__":
    unittest.main()
