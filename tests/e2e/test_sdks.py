"""The SDKs of PyPI send to the server; the Cube API must count what they sent."""

import unittest

from gitlab_sdk import Client
from snowplow_tracker import (
    EmitterConfiguration,
    PagePing,
    PageView,
    SelfDescribing,
    SelfDescribingJson,
    Snowplow,
    StructuredEvent,
    Subject,
    TrackerConfiguration,
)

from support.tally import Tally, wait_until


class Sdks(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.tally = Tally().start()
        cls.addClassCleanup(cls.tally.remove)

    def until_counted(self, project, expected):
        wait_until(lambda: self.tally.count(project) >= expected, f"{expected} events of {project}")
        self.assertEqual(self.tally.count(project), expected)

    def test_snowplow_tracker(self):
        sent = 0
        for method, base64 in (("post", True), ("post", False), ("get", True)):
            tracker = Snowplow.create_tracker(
                namespace=f"e2e-{method}-{base64}",
                app_id="sdk-snowplow-python-key",
                endpoint=self.tally.url,
                method=method,
                subject=Subject().set_user_id("user-5"),
                emitter_config=EmitterConfiguration(batch_size=3),
                tracker_config=TrackerConfiguration(encode_base64=base64),
            )
            for n in range(6):
                tracker.track(PageView(page_url=f"https://shop.example/p/{n}", page_title="Titre é"))
            tracker.track(StructuredEvent(category="shop", action="add", label="l", property_="p", value=2.0))
            tracker.track(PagePing(page_url="https://shop.example/p/1", min_x=0, max_x=0, min_y=0, max_y=100))
            thing = SelfDescribingJson("iglu:com.acme/thing_done/jsonschema/1-0-0", {"what": "x"})
            tracker.track(SelfDescribing(event_json=thing))
            tracker.flush()
            sent += 9
        self.until_counted("sdk-snowplow-python", sent)
        self.assertEqual(self.tally.count("sdk-snowplow-python", "TrackedEvents.pageViewsCount"), 18)

    def test_gitlab_sdk(self):
        client = Client(app_id="sdk-gitlab-python-key", host=self.tally.url, batch_size=2, async_emitter=False)
        client.identify("user-6", {"plan": "gold"})
        for n in range(7):
            client.track("checkout", {"amount": n})
        client.tracker.flush()
        self.until_counted("sdk-gitlab-python", 7)
        rows = self.tally.load("sdk-gitlab-python", {
            "dimensions": ["TrackedEvents.customEventName", "TrackedEvents.userId"], "measures": ["TrackedEvents.count"],
        })
        self.assertEqual(rows, [{
            "TrackedEvents.customEventName": "checkout", "TrackedEvents.userId": "user-6", "TrackedEvents.count": "7",
        }])


if __name__ == "__main__":
    unittest.main()
