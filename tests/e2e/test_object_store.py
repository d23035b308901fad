"""The server on a bucket: an S3 service on this machine (moto), the log in the folder and in the bucket, machines that are
lost, followers, and a second writer."""

import json
import os
import shutil
import tempfile
import time
import unittest
import urllib.error
import urllib.request

import boto3
from moto.server import ThreadedMotoServer

from support.command import Command
from support.tally import Tally, free_port, wait_until

BUCKET = "tally"
SMALL = {"flush_interval_ms": 300, "flush_rows_max": 200, "wal_interval_ms": 20, "follow_interval_ms": 100}


def events(prefix, count):
    now = int(time.time())
    return [
        {
            "type": "page",
            "event_id": f"{prefix}-{n}",
            "anonymous_id": f"visitor-{n % 7}",
            "url": f"https://shop.example/page{n % 5}.html",
            "timestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now - 3600 + n)),
        }
        for n in range(count)
    ]


def post(tally, batch, key="site-app"):
    """Status and body of one batch."""
    body = json.dumps(batch).encode()
    request = urllib.request.Request(f"{tally.url}/v1/events", body, {"x-write-key": key})
    try:
        with urllib.request.urlopen(request, timeout=60) as reply:
            return reply.status, json.load(reply)
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def readyz(tally):
    try:
        with urllib.request.urlopen(f"{tally.url}/readyz", timeout=10) as reply:
            return reply.status, json.load(reply)
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def readyz_or_none(tally):
    try:
        return readyz(tally)[0]
    except OSError:
        return None


class ObjectStore(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        # What a machine has set for the real service must not reach the tests.
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            del os.environ[name]
        cls.port = free_port()
        cls.moto = ThreadedMotoServer(ip_address="127.0.0.1", port=cls.port, verbose=False)
        cls.moto.start()
        cls.s3 = boto3.client(
            "s3",
            endpoint_url=f"http://127.0.0.1:{cls.port}",
            region_name="us-east-1",
            aws_access_key_id="key",
            aws_secret_access_key="secret",
        )
        cls.s3.create_bucket(Bucket=BUCKET)

    @classmethod
    def tearDownClass(cls):
        cls.moto.stop()

    def setUp(self):
        self.machines = []

    def tearDown(self):
        for machine in self.machines:
            machine.remove()

    def machine(self, wal, projects=True, **settings):
        """A machine with an empty disk, and this test's part of the bucket."""
        options = {
            "aws_endpoint": f"http://127.0.0.1:{self.port}",
            "aws_allow_http": "true",
            "aws_region": "us-east-1",
            "aws_access_key_id": "key",
            "aws_secret_access_key": "secret",
        }
        tally = Tally(
            {
                **SMALL,
                "store": f"s3://{BUCKET}/{self.id().split('.')[-1]}",
                "store_options": ",".join(f"{name}={value}" for name, value in options.items()),
                "wal": wal,
                **settings,
            }
        )
        if not projects:
            (tally.data_dir / "projects.json").unlink()
        self.machines.append(tally)
        return tally

    def names(self):
        prefix = self.id().split(".")[-1]
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix)
        return [item["Key"][len(prefix) + 1 :] for page in pages for item in page.get("Contents", [])]

    def test_a_lost_machine_loses_nothing_and_its_successor_needs_no_disk(self):
        first = self.machine("store").start()
        acknowledged = {}
        for round in range(12):
            batch = events(f"r{round}", 25)
            status, body = post(first, batch)
            self.assertEqual((status, body["stored"]), (200, 25), body)
            acknowledged.update({event["event_id"]: 1 for event in batch})
        self.assertEqual(first.id_counts("site"), acknowledged, "acknowledged is in the next answer")
        first.kill()
        self.assertTrue(any(name.startswith("wal/") for name in self.names()))

        second = self.machine("store", projects=False).start()
        self.assertEqual(second.id_counts("site"), acknowledged)
        for round in range(12):
            status, body = post(second, events(f"r{round}", 25))
            self.assertEqual((status, body["stored"], body["duplicate"]), (200, 0, 25), body)
        self.assertEqual(post(second, events("late", 5))[1]["stored"], 5)
        self.assertEqual(second.stop(), 0, second.log())

        third = self.machine("store", projects=False).start()
        self.assertEqual(third.count("site"), len(acknowledged) + 5)
        self.assertEqual(post(third, events("r0", 25))[1]["duplicate"], 25, "ids outlive their groups")

    def test_a_backup_needs_no_disk_either(self):
        """Of a machine that is lost with events in no table yet, onto machines with empty disks."""
        first = self.machine("store", flush_interval_ms=3_600_000, flush_rows_max=1_000_000).start()
        self.assertEqual(post(first, events("a", 40))[1]["stored"], 40)
        first.kill()
        self.assertFalse(any(name.endswith(".parquet") for name in self.names()), "the events are in the log only")

        elsewhere = {"store": f"s3://{BUCKET}/{self.id().split('.')[-1]}-restored"}
        with tempfile.TemporaryDirectory(prefix="tally-backup-") as backup:
            said = Command(self.empty_machine())("backup", backup)
            self.assertIn("40 rows", said)
            self.assertIn("name the project", Command(self.empty_machine()).fails("history"))
            erased = Command(self.empty_machine())("erase", "visitor", "visitor-1", "--project", "site", "--dry-run")
            self.assertIn("6 rows would be erased", erased)
            said = Command(self.empty_machine(**elsewhere))("restore", backup)
            self.assertIn("40 event ids", said)
            self.assertIn("already", Command(self.empty_machine(**elsewhere)).fails("restore", backup))

        second = self.empty_machine(**elsewhere).start()
        self.assertEqual(second.id_counts("site"), {f"a-{n}": 1 for n in range(40)})
        status, body = post(second, events("a", 41))
        self.assertEqual((status, body["stored"], body["duplicate"]), (200, 1, 40), body)
        self.assertEqual(second.stop(), 0, second.log())

    def empty_machine(self, **settings):
        """A machine without a data folder; its log is in the store."""
        machine = self.machine("store", **settings)
        shutil.rmtree(machine.data_dir)
        return machine

    def test_a_local_log_survives_a_crash(self):
        machine = self.machine("local", flush_interval_ms=3_600_000).start()
        for round in range(5):
            self.assertEqual(post(machine, events(f"r{round}", 25))[0], 200)
        machine.kill()
        machine.start()
        self.assertEqual(set(machine.id_counts("site").values()), {1})
        self.assertEqual(machine.count("site"), 125)
        self.assertEqual(post(machine, events("r0", 25))[1]["duplicate"], 25)
        self.assertEqual(machine.stop(), 0, machine.log())

    def test_a_follower_sees_commits_and_takes_no_events(self):
        for wal in ["local", "store"]:
            with self.subTest(wal=wal):
                writer = self.machine(wal).start()
                follower = self.machine(wal, read_only="true").start()
                before = writer.count("site")
                self.assertEqual(post(writer, events(f"{wal}-a", 30))[0], 200)
                wait_until(lambda: follower.count("site") == before + 30, "the follower's answer")
                self.assertEqual(post(writer, events(f"{wal}-b", 10))[0], 200)
                wait_until(lambda: follower.count("site") == before + 40, "the follower's next answer")
                status, body = post(follower, events("no", 1))
                self.assertEqual(status, 503, body)
                self.assertIn("only reads", body["error"])
                status, body = readyz(follower)
                self.assertEqual((status, body["role"]), (200, "follower"), body)
                self.assertLess(body["behind_ms"], 30_000)
                self.assertEqual(readyz(writer), (200, {"health": "HEALTH"}), "a follower takes the store from nobody")
                self.assertEqual(follower.stop(), 0, follower.log())
                self.assertEqual(writer.stop(), 0, writer.log())

    def test_a_second_writer_fences_the_first(self):
        for wal in ["local", "store"]:
            with self.subTest(wal=wal):
                first = self.machine(wal).start()
                before = first.count("site")
                self.assertEqual(post(first, events(f"{wal}-a", 20))[0], 200)
                wait_until(lambda: self.is_flushed(first), "the first machine's commit")
                second = self.machine(wal).start()

                def is_fenced():
                    post(first, events(f"{wal}-late", 1))
                    status, body = readyz(first)
                    return status == 503 and "taken over" in json.dumps(body)

                wait_until(is_fenced, "the first machine's notice")
                status, body = post(first, events(f"{wal}-x", 5))
                self.assertEqual(status, 503, body)
                self.assertIn("taken over", body["error"])
                self.assertIn("by=", first.log(), "the log names who took over")
                self.assertEqual(post(second, events(f"{wal}-b", 20))[0], 200)
                counts = second.id_counts("site")
                self.assertEqual(set(counts.values()), {1})
                self.assertEqual(sum(name.startswith((f"{wal}-a-", f"{wal}-b-")) for name in counts), 40)
                self.assertGreaterEqual(second.count("site"), before + 40)
                self.assertEqual(first.stop(), 0, first.log())
                self.assertEqual(second.stop(), 0, second.log())

    def test_a_command_does_not_stop_a_writer_elsewhere(self):
        for wal in ["local", "store"]:
            with self.subTest(wal=wal):
                writer = self.machine(wal).start()
                self.assertEqual(post(writer, events(f"{wal}-a", 10))[0], 200)
                command = Command(self.machine(wal))
                self.assertIn("--take-over", command.fails("flush"))
                command("flush", "--take-over")
                wait_until(lambda: post(writer, events("no", 1))[0] == 503 and readyz(writer)[0] == 503, "the writer's notice")
                writer.stop()
                again = self.machine(wal).start()
                self.assertIn("--take-over", command.fails("compact"))
                again.kill()
                command("compact")
                last = self.machine(wal).start()
                self.assertEqual(last.stop(), 0, last.log())
                command("flush")

    def test_a_start_waits_for_a_store_that_does_not_answer(self):
        port = free_port()
        for wal in ["local", "store"]:
            with self.subTest(wal=wal):
                machine = self.machine(wal)
                options = machine.settings["store_options"].replace(f":{self.port}", f":{port}")
                machine.settings["store_options"] = options
                machine.port = free_port()
                machine.process = machine.spawn(machine.port)
                wait_until(lambda: "does not answer; the start is tried again" in machine.log(), "a word in the log", 60)
                status, body = readyz(machine)
                self.assertEqual(status, 503, body)
                self.assertIn("object store does not answer", json.dumps(body))
                self.assertEqual(post(machine, events("early", 1))[0], 503)
                self.assertEqual(machine.stop(), 0, machine.log())

                machine.process = machine.spawn(machine.port)
                wait_until(lambda: readyz_or_none(machine) == 503, "an answer")
                late = ThreadedMotoServer(ip_address="127.0.0.1", port=port, verbose=False)
                late.start()
                try:
                    wait_until(machine._is_ready, "the start", 90)
                    self.assertEqual(post(machine, events(f"{wal}-w", 5))[1]["stored"], 5)
                    self.assertEqual(machine.stop(), 0, machine.log())
                finally:
                    late.stop()

    def is_flushed(self, machine):
        with urllib.request.urlopen(f"{machine.url}/metrics", timeout=10) as reply:
            lines = reply.read().decode().splitlines()
        rows = next(line for line in lines if line.startswith("tally_flushed_rows_total "))
        return float(rows.split()[1]) >= 20


if __name__ == "__main__":
    unittest.main()
