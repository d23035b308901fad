"""Captures of real SDKs, replayed byte for byte: every reply accepted, every event stored exactly once."""

import unittest

from support import replayer
from support.tally import Tally

# Project of the server's set-up -> captures whose write keys belong to it.
CAPTURES = {
    "jitsu": ["jitsu-sdk-js", "jitsu-sdk-js-node"],
    "snowplow": ["snowplow-browser", "snowplow-node", "snowplow-python"],
    "gitlab": ["gitlab-browser", "gitlab-browser-pings", "gitlab-python"],
}
SMALL_FLUSHES = {"flush_interval_ms": 300, "flush_rows_max": 20}


def all_requests():
    return [request for names in CAPTURES.values() for name in names for request in replayer.read_capture(name)]


class Replay(unittest.TestCase):
    maxDiff = None

    def check_replies(self, tally, requests):
        complaints = []
        for request in requests:
            complaint = replayer.complaint(request, replayer.send(tally.port, request))
            if complaint:
                complaints.append(complaint)
        self.assertEqual(complaints, [])

    def check_stored(self, tally):
        for project, names in CAPTURES.items():
            with self.subTest(project=project):
                expected = replayer.expected_of(names)
                self.assertGreater(expected.events, 0)
                stored = tally.id_counts(project)
                self.assertEqual({eid: n for eid, n in stored.items() if n != 1}, {}, "ids stored more than once")
                self.assertEqual(tally.count(project), expected.events)
                self.assertEqual(len(stored), expected.events)
                self.assertEqual(tally.count(project, "TrackedEvents.pageViewsCount"), expected.page_views)
                if expected.ids:
                    self.assertEqual(set(stored), expected.ids)

    def test_every_event_once(self):
        with Tally(SMALL_FLUSHES) as tally:
            self.check_replies(tally, all_requests())
            self.check_stored(tally)

    def test_a_second_delivery_changes_nothing(self):
        requests = [r for r in all_requests() if all(replayer.identity(e) for e in replayer.events_of(r))]
        with Tally(SMALL_FLUSHES) as tally:
            self.check_replies(tally, all_requests())
            self.check_replies(tally, requests)
            self.check_stored(tally)

    def test_kill_and_restart_half_way(self):
        requests = all_requests()
        with Tally(SMALL_FLUSHES) as tally:
            half = len(requests) // 2
            self.check_replies(tally, requests[:half])
            tally.kill()
            tally.start()
            self.check_replies(tally, requests[half:])
            tally.kill()
            tally.start()
            self.check_stored(tally)

    def test_killed_while_a_request_is_under_way(self):
        """The SDK saw no answer and sends again: whatever the server had kept, each event is there once."""
        requests = all_requests()
        resendable = [n for n, r in enumerate(requests) if r["method"] == "POST" and all(
            replayer.identity(e) for e in replayer.events_of(r))]
        kills = set(resendable[5::12])
        with Tally(SMALL_FLUSHES) as tally:
            for n, request in enumerate(requests):
                if n in kills:
                    replayer.send(tally.port, request, read_reply=False)
                    tally.kill()
                    tally.start()
                self.check_replies(tally, [request])
            self.check_stored(tally)


if __name__ == "__main__":
    unittest.main()
