"""What ClickHouse needs for the same, in the same run, through the package chdb of PyPI.

    clickhouse.py size FOLDER          bytes an event of the Parquet files in FOLDER, as a MergeTree table
    clickhouse.py ingest FILE BATCH    events a CPU second of durable inserts of FILE (an event a line) in batches
"""

import json
import os
import resource
import shutil
import sys
import tempfile

import chdb.session


def say(what, value, more=""):
    print(f"{what:<30} {value:>9}{more}", flush=True)


def size(session, folder):
    """The same rows, partitioned by day and sorted by (visitor, ts), merged, under ClickHouse's two compressions."""
    files = f"file('{folder}/*.parquet', 'Parquet')"
    described = session.query(f"DESCRIBE {files} SETTINGS schema_inference_mode = 'union'", "JSONEachRow").data()
    columns = [json.loads(line) for line in described.splitlines()]
    session.query("CREATE DATABASE IF NOT EXISTS bench")
    for codec in ("LZ4", "ZSTD(1)", "ZSTD(3)"):
        declared = ", ".join(f"`{c['name']}` {c['type']} CODEC({codec})" for c in columns)
        session.query("DROP TABLE IF EXISTS bench.size")
        session.query(
            f"CREATE TABLE bench.size ({declared}) ENGINE = MergeTree PARTITION BY toDate(ts)"
            " ORDER BY (visitor_id, ts) SETTINGS allow_nullable_key = 1"
        )
        session.query(f"INSERT INTO bench.size SELECT * FROM {files} SETTINGS schema_inference_mode = 'union'")
        session.query("OPTIMIZE TABLE bench.size FINAL")
        told = session.query(
            "SELECT sum(bytes_on_disk) / sum(rows) AS bytes_each, sum(rows) AS rows_all FROM system.parts"
            " WHERE active AND database = 'bench' AND table = 'size'",
            "JSONEachRow",
        ).data()
        told = json.loads(told)
        say(f"ClickHouse {codec}, bytes an event", f"{told['bytes_each']:.2f}", f"   {told['rows_all']} rows")


COLUMNS = (
    "event_id String, type LowCardinality(String), timestamp DateTime64(3), anonymous_id String, url String, title String,"
    " referrer String, user_agent String, language LowCardinality(String), screen_w UInt16, screen_h UInt16,"
    " viewport_w UInt16, viewport_h UInt16, charset LowCardinality(String), properties String"
)


def ingest(session, path, batch):
    """Inserts with an fsync of file and folder before each returns, which is off by default there."""
    session.query("CREATE DATABASE IF NOT EXISTS bench")
    session.query("DROP TABLE IF EXISTS bench.ingest")
    session.query(
        f"CREATE TABLE bench.ingest ({COLUMNS}) ENGINE = MergeTree ORDER BY (anonymous_id, timestamp)"
        " SETTINGS fsync_after_insert = 1, fsync_part_directory = 1"
    )
    with open(path, encoding="utf-8") as file:
        lines = file.read().splitlines()
    batches = ["\n".join(lines[at : at + batch]) for at in range(0, len(lines), batch)]
    settings = "SETTINGS input_format_json_read_objects_as_strings = 1, input_format_skip_unknown_fields = 1"
    before = resource.getrusage(resource.RUSAGE_SELF)
    for rows in batches:
        session.query(f"INSERT INTO bench.ingest {settings} FORMAT JSONEachRow\n{rows}")
    after = resource.getrusage(resource.RUSAGE_SELF)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    count = int(session.query("SELECT count() FROM bench.ingest", "TSV").data())
    assert count == len(lines), (count, len(lines))
    say("ClickHouse, events a CPU second", f"{len(lines) / used:.0f}", f"   {len(lines)} events, {used:.1f} s")


def main():
    folder = tempfile.mkdtemp(prefix="clickhouse-")
    session = chdb.session.Session(folder)
    try:
        what, argument = sys.argv[1], os.path.abspath(sys.argv[2])
        if what == "size":
            size(session, argument)
        else:
            ingest(session, argument, int(sys.argv[3]))
    finally:
        session.close()
        shutil.rmtree(folder, ignore_errors=True)


main()
