"""Starting and stopping: a clean stop leaves nothing behind, and one data folder has one server."""

import unittest

from support import replayer
from support.tally import Tally, free_port, wait_until
from test_delta_reader import read, table_of

NAMES = ["snowplow-node", "snowplow-python"]


class Lifecycle(unittest.TestCase):
    def send_all(self, tally):
        for name in NAMES:
            for request in replayer.read_capture(name):
                replayer.send(tally.port, request)
        return replayer.expected_of(NAMES)

    def test_sigterm_leaves_a_clean_state(self):
        with Tally({"flush_interval_ms": 3_600_000}) as tally:
            expected = self.send_all(tally)
            self.assertEqual(tally.stop(), 0, tally.log())
            flushed = read(table_of(tally, "snowplow"))
            self.assertEqual(set(flushed["event_id"]), expected.ids, "everything is in Parquet after a clean stop")
            self.assertEqual(len(flushed["event_id"]), expected.events)
            tally.start()
            self.assertEqual(tally.count("snowplow"), expected.events)
            self.assertEqual(set(tally.id_counts("snowplow")), expected.ids)

    def test_a_second_server_on_the_same_data_is_refused(self):
        with Tally() as tally:
            expected = self.send_all(tally)
            second = tally.spawn(free_port())
            try:
                self.assertNotEqual(second.wait(30), 0)
            finally:
                second.kill()
            self.assertIn(str(tally.data_dir), tally.log(), "the message names the folder")
            self.assertEqual(tally.count("snowplow"), expected.events, "the first goes on")

    def test_a_new_funnel_file_is_there_without_a_restart(self):
        with Tally() as tally:
            path = tally.models_dir / "funnels" / "late.yaml"
            path.write_text("name: late\nseconds_to_convert: 60\nsteps:\n  - {name: a, target: /a, action: pageview}\n")
            def names():
                return {cube["name"] for cube in tally.meta("site")["cubes"]}

            wait_until(lambda: "late" in names(), "the new funnel in the model", seconds=5)
            query = {"measures": ["late.count"], "dimensions": ["late.step"]}
            self.assertEqual(tally.load("site", query), [{"late.step": "1", "late.count": "0"}])

    def test_stopping_while_requests_come_in_loses_nothing_acknowledged(self):
        with Tally({"flush_interval_ms": 100}) as tally:
            requests = [r for r in replayer.read_capture("snowplow-python") if r["method"] != "OPTIONS"]
            acknowledged = set()
            for n, request in enumerate(requests):
                if n == len(requests) // 2:
                    tally.process.terminate()
                try:
                    status, _, _ = replayer.send(tally.port, request)
                except OSError:
                    break
                if status == 200:
                    acknowledged |= {event["eid"] for event in replayer.events_of(request)}
            tally.process.wait(60)
            tally.start()
            stored = tally.id_counts("snowplow")
            self.assertTrue(acknowledged)
            self.assertLessEqual(acknowledged, set(stored))
            self.assertEqual(set(stored.values()), {1})


if __name__ == "__main__":
    unittest.main()
