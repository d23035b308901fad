"""Asks a real ClickHouse for the golden values of Tally's functions.

    pip install chdb            # a ClickHouse as a library; in a virtual environment
    python data/clickhouse/generate.py            # writes functions.jsonl
    python data/clickhouse/generate.py names      # writes engine/src/functions/names.txt

A line of functions.jsonl is a case: its family, its SQL, and its rows, or `error` when ClickHouse gives one.
"""

import json
import pathlib
import sys

import chdb
from chdb import session

from cases import cases

HERE = pathlib.Path(__file__).parent
SETTINGS = (
    "output_format_json_quote_64bit_integers=0, output_format_json_quote_denormals=1, output_format_json_quote_decimals=0, "
    "output_format_json_validate_utf8=1, session_timezone='UTC', cast_keep_nullable=0"
)


def golden():
    """Writes functions.jsonl."""
    clickhouse = session.Session()
    written = 0
    with open(HERE / "functions.jsonl", "w", encoding="utf-8") as out:
        for family, sql in cases():
            case = {"family": family, "sql": sql}
            try:
                answer = clickhouse.query(f"{sql} SETTINGS {SETTINGS}", "JSONCompactEachRow")
                lines = answer.bytes().decode("utf-8", "replace").splitlines()
                case["rows"] = [json.loads(line) for line in lines if line]
            except Exception as error:  # the library has no narrower one
                case["error"] = str(error).split("(version")[0].split("\n")[0][:160]
            out.write(json.dumps(case, ensure_ascii=False) + "\n")
            written += 1
    print(f"{written} cases")


def names():
    """Writes names.txt."""
    found = chdb.query("SELECT name FROM system.functions ORDER BY name", "TSV").bytes().decode().split("\n")
    version = ".".join(chdb.query("SELECT version()", "TSV").bytes().decode().strip().split(".")[:2])
    kept = [name for name in found if name.replace("_", "").isalnum()]
    lines = [f"# Functions of ClickHouse {version}, from its system.functions."] + kept
    target = HERE.parent.parent / "engine" / "src" / "functions" / "names.txt"
    target.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    names() if sys.argv[1:] == ["names"] else golden()
