"""Runs a command beside a server of its own: `python -m support.with_server COMMAND...`."""

import os
import subprocess
import sys

from support.tally import SECRET, Tally


def main():
    with Tally() as tally:
        environment = dict(os.environ, TALLY_E2E_URL=tally.url, TALLY_E2E_SECRET=SECRET)
        code = subprocess.run(sys.argv[1:], env=environment).returncode
        if code != 0:
            print(f"--- last lines of the server's log ---\n{tally.log()}")
    sys.exit(code)


if __name__ == "__main__":
    main()
