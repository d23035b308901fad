"""Runs a command beside a server of its own: `python -m support.with_server [--models FOLDER] COMMAND...`.

The server's model is what ships with Tally, and with `--models` the cubes and views of that folder too.
"""

import os
import shutil
import subprocess
import sys

from support.tally import SECRET, Tally


def main():
    arguments = sys.argv[1:]
    models = None
    if arguments[:1] == ["--models"]:
        models, arguments = arguments[1], arguments[2:]
    tally = Tally()
    if models:
        shutil.copytree(models, tally.models_dir, dirs_exist_ok=True)
    with tally:
        environment = dict(os.environ, TALLY_E2E_URL=tally.url, TALLY_E2E_SECRET=SECRET)
        code = subprocess.run(arguments, env=environment).returncode
        if code != 0:
            print(f"--- last lines of the server's log ---\n{tally.log()}")
    sys.exit(code)


if __name__ == "__main__":
    main()
