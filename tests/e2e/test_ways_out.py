"""The ways in and out, with the real binary: backup and restore while events come, export, import, the check, and other
engines on the files while they are written."""

import datetime
import glob
import itertools
import json
import os
import pathlib
import subprocess
import tempfile
import threading
import unittest
import urllib.request

import deltalake
import duckdb

from support.tally import BINARY, SECRET, Tally, wait_until

KEY = "site-app"
PROJECT = "site"


# What is older than 400 days counts as of today, so the days are of the last weeks.
FIRST_DAY = datetime.datetime.now(datetime.timezone.utc).date() - datetime.timedelta(days=30)


def day(n):
    """The n-th day of the events."""
    return (FIRST_DAY + datetime.timedelta(days=n)).isoformat()


def event(n):
    return {
        "event_id": f"e{n}",
        "type": "page" if n % 3 else "track",
        "event": f"action-{n % 5}",
        "ts": f"{day(n % 9)}T{n % 24:02}:00:{n % 60:02}Z",
        "anonymous_id": f"v{n % 40}",
        "url": f"https://shop.example/page{n % 7}?utm_source=s{n % 4}",
        "title": "=cmd()" if n % 10 == 0 else f"Page {n % 7}",
        "revenue": f"{n}.25",
        "properties": {"n": n, "text": f"line\n{n}", "nested": {"a": [1, 2.50]}},
    }


def post(tally, events):
    headers = {"x-write-key": KEY, "content-type": "application/json"}
    request = urllib.request.Request(f"{tally.url}/v1/events", json.dumps(events).encode(), headers)
    with urllib.request.urlopen(request, timeout=60) as reply:
        return json.load(reply)


def run(data_dir, *arguments, ok=True, store=None):
    """Runs the program on a data folder; its standard output."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("TALLY_", "CUBEJS_"))}
    environment.update(TALLY_DATA_DIR=str(data_dir), TALLY_API_SECRET=SECRET, TALLY_LOG="warn")
    if store:
        environment["TALLY_STORE"] = store
    done = subprocess.run([BINARY, *arguments], env=environment, capture_output=True, text=True, timeout=300)
    if ok and done.returncode != 0:
        raise AssertionError(f"{arguments} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
    return done


def start(data_dir, *arguments):
    """Starts the program and returns when it has opened something below its data folder or ended."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("TALLY_", "CUBEJS_"))}
    environment.update(TALLY_DATA_DIR=str(data_dir), TALLY_API_SECRET=SECRET, TALLY_LOG="warn")
    process = subprocess.Popen([BINARY, *arguments], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def has_begun():
        try:
            links = [os.readlink(path) for path in glob.glob(f"/proc/{process.pid}/fd/*")]
        except OSError:
            links = []
        return process.poll() is not None or any(str(data_dir) in link for link in links)

    wait_until(has_begun, "the beginning")
    return process


def backups(data_dir, backup):
    """The names of the whole backups in a store of them, the oldest first."""
    listed = run(data_dir, "restore", backup, "--list").stdout
    return [line for line in listed.splitlines() if line and not line.startswith(" ")]


def killed_on_the_way(data_dir, backup):
    """Kills a backup before its end; the whole ones that are there then. One this small may be quicker: then again."""
    whole = backups(data_dir, backup)
    for _ in range(20):
        killed = start(data_dir, "backup", backup)
        killed.kill()
        killed.wait()
        before, whole = whole, backups(data_dir, backup)
        if whole == before:
            return whole
    raise AssertionError(f"every backup ended before it was killed: {whole}")


def queries():
    """Two hundred of them."""
    dimensions = ["pageUrlpath", "eventName", "pageTitle", "utmSource", "eventType"]
    measures = ["count", "uniqueUsersCount", "pageViewsCount"]
    granularities = [None, "hour", "day", "week"]
    filters = [None, "page1", "page3", "page5"]
    combined = itertools.product(dimensions, measures, granularities, filters)
    for dimension, measure, granularity, text in itertools.islice(combined, 200):
        query = {
            "measures": [f"TrackedEvents.{measure}"],
            "dimensions": [f"TrackedEvents.{dimension}"],
            "order": {f"TrackedEvents.{dimension}": "asc"},
            "timezone": "UTC",
            "limit": 5000,
        }
        if granularity:
            query["timeDimensions"] = [{"dimension": "TrackedEvents.utcTime", "granularity": granularity}]
            query["order"]["TrackedEvents.utcTime"] = "asc"
        if text:
            member = "TrackedEvents.pageUrl"
            query["filters"] = [{"member": member, "operator": "contains", "values": [text]}]
        yield query


class Writer(threading.Thread):
    """Sends events until it is told to stop; knows which were acknowledged."""

    def __init__(self, tally, first=0):
        super().__init__(daemon=True)
        self.tally, self.next, self.acknowledged, self.stopping = tally, first, first, threading.Event()
        self.start()

    def run(self):
        while not self.stopping.is_set():
            events = [event(n) for n in range(self.next, self.next + 50)]
            post(self.tally, events)
            self.next += 50
            self.acknowledged = self.next

    def stop(self):
        self.stopping.set()
        self.join(60)


class WaysOut(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="tally-out-")
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def test_a_backup_while_events_come_is_whole_and_answers_as_the_original(self):
        backup = str(self.folder / "backup")
        with Tally({"flush_interval_ms": 300, "flush_rows_max": 400}) as tally:
            writer = Writer(tally)
            wait_until(lambda: writer.acknowledged >= 1000, "some events")
            before = writer.acknowledged
            run(tally.data_dir, "backup", backup)
            after = writer.next + 50
            run(tally.data_dir, "backup", backup)
            writer.stop()
            # Killed when it has begun; the next one goes on.
            whole = killed_on_the_way(tally.data_dir, backup)
            last = run(tally.data_dir, "backup", backup).stdout
            self.assertIn("were there", last)

            # The first of all, in between: everything acknowledged before it, nothing twice.
            names = backups(tally.data_dir, backup)
            self.assertGreaterEqual(len(names), 3, names)
            self.assertEqual(names[:-1], whole)
            early = self.folder / "early"
            run(early / "data", "restore", backup, "--backup", names[0])
            with Tally(folder=self.folder / "early") as copy:
                ids = copy.id_counts(PROJECT)
                self.assertEqual(set(ids.values()), {1})
                numbers = {int(id[1:]) for id in ids}
                self.assertLessEqual(set(range(before)), numbers)
                self.assertLessEqual(max(numbers), after)

            run(self.folder / "whole" / "data", "restore", backup)
            self.assertIn("all right", run(self.folder / "whole" / "data", "check", "--data").stdout)
            with Tally(folder=self.folder / "whole") as copy:
                compared = 0
                for query in queries():
                    self.assertEqual(copy.load(PROJECT, query), tally.load(PROJECT, query), query)
                    compared += 1
                self.assertEqual(compared, 200)
                # SDKs send again what they have sent before: it is known.
                answer = post(copy, [event(n) for n in range(100)])
                self.assertEqual((answer["stored"], answer["duplicate"]), (0, 100))

            # It is refused where something is already.
            refused = run(tally.data_dir, "restore", backup, ok=False)
            self.assertEqual(refused.returncode, 1)
            self.assertIn("already", refused.stderr)

            # The backup is a store, and ordinary tables.
            root = f"{backup}/projects/{PROJECT}/events"
            table = deltalake.DeltaTable(root)
            self.assertTrue(os.path.exists(f"{root}/_delta_log/{table.version():020}.json"))
            self.assertFalse(os.path.exists(f"{root}/_delta_log/{table.version() + 1:020}.json"))

    def test_an_export_is_read_by_others_and_comes_back_without_loss(self):
        with Tally({"flush_interval_ms": 300}) as tally:
            post(tally, [event(n) for n in range(600)])
            post(tally, [{"type": "dance"}])
            out = self.folder / "out"
            for kind in ["parquet", "ndjson", "csv", "arrow"]:
                run(tally.data_dir, "export", str(out / kind), "--project", PROJECT, "--format", kind)
                self.assertEqual(len(list((out / kind).iterdir())), 9, kind)
            count = duckdb.sql(f"select count(*), count(distinct event_id) from '{out}/parquet/*.parquet'").fetchall()
            self.assertEqual(count, [(600, 600)])
            csv = duckdb.sql(f"select page_title from read_csv('{out}/csv/*.csv', all_varchar = true)").fetchall()
            self.assertEqual(sum(title == "'=cmd()" for (title,) in csv), 60)
            days = run(tally.data_dir, "export", "-", "-p", PROJECT, "--format", "ndjson", "--from", day(1), "--to", day(2)).stdout
            self.assertEqual({json.loads(line)["ts"][:10] for line in days.splitlines()}, {day(1), day(2)})
            rejected = run(tally.data_dir, "export", "-", "-p", PROJECT, "--format", "ndjson", "--table", "rejected")
            self.assertEqual(json.loads(rejected.stdout)["reason"], "unsupported_type")

            # Broken off and taken up again.
            lost = next((out / "ndjson").iterdir())
            text = lost.read_text()
            lost.unlink()
            again = run(tally.data_dir, "export", str(out / "ndjson"), "-p", PROJECT, "--format", "ndjson", ok=False)
            self.assertEqual(again.returncode, 1)
            run(tally.data_dir, "export", str(out / "ndjson"), "-p", PROJECT, "--format", "ndjson", "--resume")
            self.assertEqual(lost.read_text(), text)

            # Into another server, while it runs, and out of it again: the same lines.
            with Tally({"flush_interval_ms": 300}) as other:
                files = sorted(str(path) for path in (out / "ndjson").iterdir())
                dry = run(other.data_dir, "import", "--dry-run", "-p", PROJECT, files[0]).stdout
                self.assertIn("columns of native", dry)
                run(other.data_dir, "import", "-p", PROJECT, *files)
                again = run(other.data_dir, "import", "--again", "-p", PROJECT, *files).stdout
                self.assertIn("0 stored", again)
                self.assertEqual(other.count(PROJECT), 600)
                run(other.data_dir, "export", str(self.folder / "back"), "-p", PROJECT, "--format", "ndjson")
                for path in files:
                    back = self.folder / "back" / pathlib.Path(path).name
                    lines = lambda name: sorted(pathlib.Path(name).read_text().splitlines())
                    self.assertEqual(lines(back), lines(path))

    def test_dumps_of_the_old_stack_are_imported(self):
        jitsu = self.folder / "jitsu.tsv"
        columns = ["eventn_ctx_event_id", "_timestamp", "utc_time", "event_type", "user_anonymous_id", "doc_path", "plan"]
        rows = [[f"j{n}", "2026-01-05 10:00:00", "2026-01-05 09:59:58", "pageview", f"a{n % 3}", f"/p{n}", "pro"]
                for n in range(50)]
        rows.append(["bad", "\\N", "not a time", "pageview", "a", "/", "x"])
        jitsu.write_text("\n".join("\t".join(row) for row in [columns, *rows]) + "\n")
        snowplow = self.folder / "snowplow.parquet"
        duckdb.sql("select 's' || i as event_id, timestamp '2026-01-06 08:00:00' + interval (i) second as derived_tstamp, "
                   "timestamp '2026-01-06 09:00:00' as collector_tstamp, 'page_view' as event, 'd' || i % 4 as domain_userid, "
                   "'/x' as page_urlpath, '{\"a\": 1}' as custom_event_props from range(80) t(i)").write_parquet(str(snowplow))
        with Tally({"flush_interval_ms": 300}) as tally:
            out = run(tally.data_dir, "import", "-p", PROJECT, str(jitsu), str(snowplow)).stdout
            self.assertIn("51 rows: 50 stored, 0 known already, 1 rejected", out)
            self.assertIn("80 rows: 80 stored", out)
            self.assertEqual(tally.count(PROJECT), 130)
            self.assertEqual(tally.count(PROJECT, "TrackedEvents.pageViewsCount"), 130)

    def test_the_check_names_a_damaged_file(self):
        with Tally({"flush_interval_ms": 300}) as tally:
            post(tally, [event(n) for n in range(300)])
            whole = run(tally.data_dir, "check", "--data")
            self.assertIn("all right", whole.stdout)
            tally.stop()
            files = sorted(glob.glob(f"{tally.data_dir}/store/projects/{PROJECT}/events/date=*/*.parquet"))
            with open(files[0], "r+b") as file:
                file.seek(100)
                byte = file.read(1)
                file.seek(100)
                file.write(bytes([byte[0] ^ 1]))
            damaged = run(tally.data_dir, "check", "--data", ok=False)
            self.assertEqual(damaged.returncode, 1)
            self.assertIn(os.path.basename(files[0]), damaged.stderr)
            self.assertIn("tally restore", damaged.stderr)
            tally.start()
            rest = {"timeDimensions": [{"dimension": "TrackedEvents.utcTime", "dateRange": [day(4), day(8)]}]}
            self.assertGreater(tally.count(PROJECT, **rest), 100)


class OtherEngines(unittest.TestCase):
    def test_duckdb_and_deltalake_read_while_the_server_writes_and_merges(self):
        with Tally({"flush_interval_ms": 100, "flush_rows_max": 60}) as tally:
            writer = Writer(tally)
            root = tally.data_dir / "store" / "projects" / PROJECT / "events"
            wait_until(lambda: list(root.glob("_delta_log/*.json")), "a first commit")
            reads = 0
            merged = False
            while reads < 12 or not merged:
                known = writer.acknowledged
                table = deltalake.DeltaTable(str(root))
                files = [uri.removeprefix("file://") for uri in table.file_uris()]
                [(rows, ids)] = duckdb.sql("select count(*), count(distinct event_id) from read_parquet("
                                           f"{files!r}, hive_partitioning = true)").fetchall()
                self.assertEqual(rows, ids, "each event once")
                through_log = deltalake.QueryBuilder().register("t", table).execute("SELECT count(*) AS n FROM t").read_all()
                self.assertEqual(through_log.column("n")[0].as_py(), rows)
                self.assertLessEqual(rows, writer.next + 50)
                merged = any(entry["operation"] == "OPTIMIZE" for entry in table.history())
                reads += 1
                if reads > 400:
                    break
            self.assertTrue(merged, "files were merged meanwhile")
            self.assertGreater(known, 0)
            writer.stop()
            wait_until(lambda: deltalake.DeltaTable(str(root)).version() > table.version(), "later commits")


if __name__ == "__main__":
    unittest.main()
