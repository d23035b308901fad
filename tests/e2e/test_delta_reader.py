"""Another engine reads the tables while the server writes them."""

import unittest

import deltalake

from support.tally import Tally, wait_until
from support import replayer

COLUMNS = {"event_id", "visitor_id", "ts", "received_at", "event_type", "page_path", "properties", "date"}


def table_of(tally, project, name="events"):
    """The project's table, found by its log."""
    logs = [path.parent for path in tally.data_dir.rglob("_delta_log")]
    mine = [path for path in logs if project in path.parts and (name in path.parts or len(logs) == 1)]
    return str(mine[0]) if mine else None


def read(path):
    """The ids of a table's rows, as another engine reads them."""
    table = deltalake.DeltaTable(path)
    reader = deltalake.QueryBuilder().register("t", table).execute("SELECT event_id, date FROM t")
    rows = reader.read_all()
    return {name: [value.as_py() for value in rows.column(name)] for name in rows.schema.names}


class DeltaReader(unittest.TestCase):
    def test_the_table_holds_every_event(self):
        names = ["snowplow-browser", "snowplow-node", "snowplow-python"]
        expected = replayer.expected_of(names)
        with Tally({"flush_interval_ms": 200, "flush_rows_max": 10}) as tally:
            for name in names:
                for request in replayer.read_capture(name):
                    replayer.send(tally.port, request)
            wait_until(lambda: table_of(tally, "snowplow"), "a first commit")
            path = table_of(tally, "snowplow")

            def all_flushed():
                table = read(path)
                return table if len(table["event_id"]) >= expected.events else None

            table = wait_until(all_flushed, "the flush of all events")
            self.assertEqual(len(table["event_id"]), expected.events)
            self.assertEqual(set(table["event_id"]), expected.ids)
            self.assertEqual(tally.count("snowplow"), expected.events, "the server answers while it is read")

            delta = deltalake.DeltaTable(path)
            fields = {field.name for field in delta.schema().fields}
            self.assertLessEqual(COLUMNS, fields)
            # Columns that no event of a file fills are not in the file: a reader takes them from the table's schema.
            every = deltalake.QueryBuilder().register("t", delta).execute("SELECT * FROM t").read_all()
            self.assertEqual(set(every.schema.names), fields)
            self.assertEqual(len(every.column("event_id")), expected.events)
            never_set = every.column("geo_city")
            self.assertEqual([value.as_py() for value in never_set], [None] * expected.events)
            self.assertEqual(delta.metadata().partition_columns, ["date"])
            self.assertGreaterEqual(delta.version(), 1)


if __name__ == "__main__":
    unittest.main()
