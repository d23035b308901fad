"""Metrics as Prometheus reads them: the page parses, every family has its kind, and histograms add up."""

import unittest
import urllib.request

from prometheus_client.parser import text_string_to_metric_families
from support import replayer
from support.tally import Tally


class Metrics(unittest.TestCase):
    def test_the_page_parses_and_holds_together(self):
        with Tally({"flush_interval_ms": 100}) as tally:
            for request in replayer.read_capture("snowplow-node"):
                replayer.send(tally.port, request)
            expected = replayer.expected_of(["snowplow-node"])
            self.assertEqual(tally.count("snowplow"), expected.events)
            with urllib.request.urlopen(f"{tally.url}/metrics", timeout=10) as reply:
                self.assertTrue(reply.headers["content-type"].startswith("text/plain; version=0.0.4"))
                page = reply.read().decode()
            families = {family.name: family for family in text_string_to_metric_families(page)}
            stored = families["tally_events_stored"].samples[0].value
            self.assertEqual(stored, expected.events)
            self.assertEqual(families["tally_build_info"].samples[0].value, 1)
            for family in families.values():
                self.assertIn(family.type, {"counter", "gauge", "histogram"}, family.name)
                self.assertTrue(family.documentation, family.name)
                series = [(sample.name, tuple(sorted(sample.labels.items()))) for sample in family.samples]
                self.assertEqual(len(series), len(set(series)), family.name)
                if family.type == "histogram":
                    self.check_histogram(family)
            for name in ("tally_ack_seconds", "tally_query_seconds"):
                counts = [sample.value for sample in families[name].samples if sample.name.endswith("_count")]
                self.assertGreater(sum(counts), 0, name)

    def check_histogram(self, family):
        by_labels = {}
        for sample in family.samples:
            labels = tuple(sorted((key, value) for key, value in sample.labels.items() if key != "le"))
            by_labels.setdefault(labels, []).append(sample)
        for samples in by_labels.values():
            buckets = [(float(s.labels["le"]), s.value) for s in samples if s.name.endswith("_bucket")]
            self.assertEqual(buckets, sorted(buckets), family.name)
            self.assertEqual(buckets[-1][0], float("inf"))
            count = next(s.value for s in samples if s.name.endswith("_count"))
            self.assertEqual(buckets[-1][1], count)


if __name__ == "__main__":
    unittest.main()
