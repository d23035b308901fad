"""Every date of two years in five zones, bucketed as Python's zoneinfo says.

TALLY_CALENDAR=all also asks for every single date by a date range; otherwise only those near a change of the clocks.
"""

import collections
import datetime as dt
import json
import os
import unittest
import urllib.request
import zoneinfo

from support.tally import Tally, token

FIRST, LAST = dt.date(2018, 1, 1), dt.date(2019, 12, 31)
# Half an hour off UTC, a change by half an hour, a midnight that does not exist, both hemispheres.
ZONES = ["America/New_York", "Asia/Kolkata", "Australia/Sydney", "Australia/Lord_Howe", "America/Sao_Paulo"]
GRANULARITIES = ["second", "minute", "hour", "day", "week", "month", "quarter", "year"]
COUNT, AT = "Calendar.count", "Calendar.at"
MODEL = """
cubes:
  - name: Calendar
    sql: SELECT event_id, CAST(json_get_str(properties, 'at') AS TIMESTAMP) AS at FROM events
    measures:
      - name: count
        type: count
    dimensions:
      - name: id
        sql: event_id
        type: string
        primary_key: true
      - name: at
        sql: at
        type: time
"""


def dates():
    return [FIRST + dt.timedelta(days=n) for n in range((LAST - FIRST).days + 1)]


def offset(zone, instant):
    return instant.astimezone(zone).utcoffset()


def changes(zone):
    """The instants at which the zone's clocks change, to the second."""
    found = []
    hours = [dt.datetime(2017, 12, 30, tzinfo=dt.timezone.utc) + dt.timedelta(hours=n) for n in range(24 * 734)]
    for before, after in zip(hours, hours[1:]):
        if offset(zone, before) == offset(zone, after):
            continue
        low, high = before, after
        while high - low > dt.timedelta(seconds=1):
            middle = low + (high - low) / 2
            middle = middle.replace(microsecond=0)
            low, high = (low, middle) if offset(zone, middle) != offset(zone, before) else (middle, high)
        found.append(high)
    return found


def instants():
    """Four instants of every date, more around midnights and changes of the clocks of every zone."""
    found = set()
    for date in dates():
        noon = dt.datetime(date.year, date.month, date.day, tzinfo=dt.timezone.utc)
        found.update(noon + dt.timedelta(hours=h, minutes=7 * h) for h in (0, 6, 12, 18))
    for name in ZONES:
        zone = zoneinfo.ZoneInfo(name)
        for change in changes(zone):
            found.update(change + dt.timedelta(seconds=s) for s in (-3600, -1801, -1800, -1, 0, 1, 1799, 1800, 3599, 3600))
    return sorted(found)


def bucket(local, granularity):
    """The beginning of the bucket of a local time without zone."""
    day = local.replace(hour=0, minute=0, second=0, microsecond=0)
    return {
        "second": local.replace(microsecond=0),
        "minute": local.replace(second=0, microsecond=0),
        "hour": local.replace(minute=0, second=0, microsecond=0),
        "day": day,
        "week": day - dt.timedelta(days=local.weekday()),
        "month": day.replace(day=1),
        "quarter": day.replace(day=1, month=local.month - (local.month - 1) % 3),
        "year": day.replace(day=1, month=1),
    }[granularity]


def wire(local):
    return local.strftime("%Y-%m-%dT%H:%M:%S.000")


class Calendar(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.tally = Tally()
        cubes = cls.tally.models_dir / "cubes"
        cubes.mkdir(parents=True)
        (cubes / "calendar.yml").write_text(MODEL)
        cls.tally.start()
        cls.addClassCleanup(cls.tally.remove)
        cls.instants = instants()
        texts = [at.strftime("%Y-%m-%dT%H:%M:%SZ") for at in cls.instants]
        for first in range(0, len(texts), 1000):
            cls.post(texts[first : first + 1000])

    @classmethod
    def post(cls, texts):
        events = [
            {"event_id": text, "event": "tick", "anonymous_id": "clock", "origin": "server", "properties": {"at": text}}
            for text in texts
        ]
        headers = {"content-type": "application/json", "authorization": "Bearer site-app"}
        request = urllib.request.Request(f"{cls.tally.url}/v1/events", json.dumps(events).encode(), headers)
        with urllib.request.urlopen(request) as reply:
            reply.read()

    def test_every_granularity_in_every_zone(self):
        for name in ZONES:
            zone = zoneinfo.ZoneInfo(name)
            local = [at.astimezone(zone).replace(tzinfo=None) for at in self.instants]
            for granularity in GRANULARITIES:
                expected = collections.Counter(wire(bucket(at, granularity)) for at in local)
                rows = self.tally.load("site", {
                    "measures": [COUNT], "timezone": name, "limit": 50000,
                    "timeDimensions": [{"dimension": AT, "granularity": granularity}],
                })
                got = {row[f"{AT}.{granularity}"]: int(row[COUNT]) for row in rows}
                self.assertEqual(len(got), len(rows), f"{granularity} in {name}: a bucket comes once")
                self.assertEqual(got, dict(expected), f"{granularity} in {name}")

    def test_every_date_as_a_range(self):
        for name in ZONES:
            zone = zoneinfo.ZoneInfo(name)
            per_date = collections.Counter(at.astimezone(zone).date() for at in self.instants)
            near = {(change.astimezone(zone) + dt.timedelta(days=d)).date() for change in changes(zone) for d in (-1, 0, 1)}
            asked = dates() if os.environ.get("TALLY_CALENDAR") == "all" else sorted(near)
            for date in asked:
                rows = self.tally.load("site", {
                    "measures": [COUNT], "timezone": name,
                    "timeDimensions": [{"dimension": AT, "dateRange": [str(date), str(date)]}],
                })
                self.assertEqual(int(rows[0][COUNT]), per_date[date], f"{date} in {name}")


if __name__ == "__main__":
    unittest.main()
