"""What operators do to the data, by command line: with a running server and without one."""

import datetime
import json
import os
import pathlib
import re
import subprocess
import unittest
import urllib.request

import pyarrow.parquet

from support.command import Command
from support.tally import BINARY, PROJECTS, SECRET, Tally


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


def day(n):
    """A day of the last weeks."""
    today = datetime.datetime.now(datetime.timezone.utc).date()
    return (today + datetime.timedelta(days=n - 30)).isoformat()


def files_with(folder, text):
    """Files below a folder that hold a text: as they are, and Parquet decoded."""
    found = []
    for path in sorted(pathlib.Path(folder).rglob("*")):
        if not path.is_file():
            continue
        data = path.read_bytes()
        if text.encode() in data:
            found.append(str(path))
        elif path.suffix == ".parquet":
            rows = pyarrow.parquet.ParquetFile(path).read().to_pylist()
            if text in repr(rows):
                found.append(str(path))
    return found


CANARY = "canary-77c2f0@a.example"


class Erase(unittest.TestCase):
    def fill(self, tally, command):
        """Events of the canary and of others, in files, in the log, in files that a merge replaced, and rejected."""
        for n in range(9):
            send(tally, views(f"f{n}-", 12) + views(f"c{n}-", 2, CANARY))
            send(tally, [{"type": "page", "ts": "never", "user_id": CANARY}, {"type": "page", "ts": "never"}])
            command("flush")
        command("compact")
        send(tally, views("late-", 12) + views("clate-", 3, CANARY))
        return 10 * 12

    def check_gone(self, tally, kept):
        self.assertEqual(files_with(tally.data_dir, CANARY), [])
        self.assertEqual(tally.count("site"), kept)
        self.assertEqual(set(tally.id_counts("site").values()), {1})

    def test_no_byte_is_left_with_a_running_server(self):
        with Tally({"flush_interval_ms": 3_600_000}) as tally:
            command = Command(tally)
            kept = self.fill(tally, command)
            send(tally, views("q-", 3, CANARY), "stranger")
            self.assertGreater(len(files_with(tally.data_dir, CANARY)), 10, "there is something to find")
            self.assertIn("would be erased", command("erase", "visitor", CANARY, "--dry-run"))
            self.assertIn("--yes", command.fails("erase", "visitor", CANARY), "nobody can be asked")
            done = command("erase", "visitor", CANARY, "--yes")
            self.assertIn("0 rows are left", done)
            self.check_gone(tally, kept)
            self.assertEqual(tally.count("stranger"), 0, "of all projects unless one is named")
            receipt = re.search(r"receipt +(\S+)", done)[1]
            self.assertNotIn(CANARY, pathlib.Path(receipt).read_text())
            self.assertIn("0 rows are left", command("erase", "verify", receipt, "--visitor", CANARY))
            self.assertIn("another visitor", command.fails("erase", "verify", receipt, "--visitor", "somebody"))
            self.assertIn("--visitor", command.fails("erase", "verify", receipt))
            changed = tally.folder / "changed.json"
            changed.write_text(pathlib.Path(receipt).read_text().replace('"remaining": 0', '"remaining": 1'))
            self.assertIn("changed", command.fails("erase", "verify", str(changed), "--visitor", CANARY))
            self.assertIn(": 0 rows erased", command("erase", "visitor", CANARY, "--yes"), "again is no harm")
            send(tally, views("new-", 2, CANARY))
            self.assertIn("2 rows came since", command("erase", "verify", receipt, "--visitor", CANARY))
            self.assertEqual(tally.count("site"), kept + 2)

    def test_no_byte_is_left_without_a_server(self):
        with Tally({"flush_interval_ms": 3_600_000}) as tally:
            command = Command(tally)
            kept = self.fill(tally, command)
            tally.kill()
            self.assertIn("0 rows are left", command("erase", "visitor", CANARY, "--yes", "--project", "site"))
            self.assertEqual(files_with(tally.data_dir, CANARY), [])
            tally.start()
            self.check_gone(tally, kept)

    def test_killed_on_the_way_and_run_again(self):
        with Tally({"flush_interval_ms": 3_600_000}) as tally:
            command = Command(tally)
            kept = self.fill(tally, command)
            tally.kill()
            rounds = int(os.environ.get("TALLY_ERASE_KILLS", "4"))
            for n in range(rounds):
                running = command.spawn("erase", "visitor", CANARY, "--yes")
                try:
                    running.wait(0.15 + 1.2 * n / rounds)
                except subprocess.TimeoutExpired:
                    running.kill()
                    running.wait()
            self.assertIn("0 rows are left", command("erase", "visitor", CANARY, "--yes"))
            self.assertEqual(files_with(tally.data_dir, CANARY), [])
            tally.start()
            self.check_gone(tally, kept)

    def test_a_range(self):
        with Tally({"flush_interval_ms": 3_600_000}) as tally:
            command = Command(tally)
            for n in range(1, 6):
                send(tally, views(f"d{n}-", 4, ts=f"{day(n)}T12:00:00Z"))
            self.assertIn("--project", command.fails("erase", "range", day(2), day(3), "--yes"))
            self.assertIn("no day", command.fails("erase", "range", "soon", day(3), "--yes", "--project", "site"))
            self.assertIn("no project", command.fails("erase", "range", day(2), day(3), "--yes", "--project", "no"))
            command("erase", "range", day(2), day(3), "--yes", "--project", "site")
            self.assertEqual(tally.count("site"), 12)
            command("erase", "range", f"{day(4)}T12:00:00Z", f"{day(4)}T12:00:00.000001Z", "--yes", "--project", "site")
            self.assertEqual(tally.count("site"), 8)


class Past(unittest.TestCase):
    def test_history_and_as_of(self):
        with Tally({"flush_interval_ms": 3_600_000}) as tally:
            command = Command(tally)
            for n in range(8):
                send(tally, views(f"h{n}-", 5))
                command("flush")
            command("compact")
            versions = json.loads(command("history", "--project", "site", "--json"))
            self.assertEqual([v["rows"] for v in versions], [40, 40, 35, 30, 25, 20, 15, 10, 5])
            self.assertIn("OPTIMIZE", command("history", "--project", "site", "--limit", "1"))
            for version in versions:
                self.assertEqual(tally.count("site", asOf=version["version"]), version["rows"])
                self.assertEqual(tally.count("site", asOf=version["at"]), version["rows"])
            tally.stop()
            self.assertEqual(json.loads(command("history", "--project", "site", "--json")), versions, "without a server")
            self.assertIn("no versions", command("history", "--project", "gitlab"))
            self.assertIn("no project", command.fails("history", "--project", "nobodys"))


class Retention(unittest.TestCase):
    def test_a_projects_own_rule(self):
        with Tally({"flush_interval_ms": 3_600_000}) as tally:
            command = Command(tally)
            # What is older than 400 days counts as of today.
            past = f"{day(-300)}T12:00:00Z"
            send(tally, views("old-", 4, ts=past) + views("new-", 3))
            command("flush")
            self.assertIn("nothing is past", command("retention"))
            self.assertIn("kept 200 days", command("project", "set", "site", "--retention", "200d"))
            self.assertIn("4 rows", command("retention"))
            self.assertEqual(tally.count("site"), 7, "only told")
            command("retention", "--apply")
            self.assertEqual(tally.count("site"), 3)
            late = send(tally, views("later-", 2, ts=past))
            self.assertEqual([one["reason"] for one in late["rejected"]], ["too_old", "too_old"])
            self.assertIn("too_old", command("rejected", "list", "--project", "site"))
            self.assertIn("kept for ever", command("project", "set", "site", "--retention", "forever"))
            self.assertIn("days", command.fails("project", "set", "site", "--retention", "soon"))
            self.assertIn("no project", command.fails("project", "set", "nobodys", "--retention", "5d"))


class Rejected(unittest.TestCase):
    def test_list_and_replay(self):
        with Tally({"flush_interval_ms": 3_600_000}) as tally:
            command = Command(tally)
            self.assertIn("no rejected events", command("rejected", "list", "--project", "site"))
            send(tally, views("g-", 2) + [{"type": "page", "ts": "never", "user_id": "u"}, 5])
            listed = command("rejected", "list", "--project", "site")
            self.assertIn("2 rejected events", listed)
            self.assertIn("not_an_object", listed)
            self.assertIn('"ts":"never"', listed.replace(" ", ""))
            replayed = command("rejected", "replay", "--project", "site")
            self.assertIn("0 stored", replayed)
            self.assertIn("1 rejected again: not_an_object", replayed)
            tally.kill()
            self.assertIn("2 rejected events", command("rejected", "list", "--project", "site"), "without a server")
            self.assertIn("unsupported", command.fails("rejected", "list", "--project", "site", "--reason", "why"))


if __name__ == "__main__":
    unittest.main()
