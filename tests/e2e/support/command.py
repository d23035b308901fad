"""The command line beside a test's server."""

import os
import subprocess

from .tally import BINARY, SECRET


class Command:
    """The command line on a server's data folder."""

    def __init__(self, tally):
        self.tally = tally

    def environment(self):
        environment = {key: value for key, value in os.environ.items() if not key.startswith(("TALLY_", "CUBEJS_"))}
        environment.update(
            TALLY_DATA_DIR=str(self.tally.data_dir), TALLY_MODELS_DIR=str(self.tally.models_dir), TALLY_API_SECRET=SECRET
        )
        environment.update({f"TALLY_{key.upper()}": str(value) for key, value in self.tally.settings.items()})
        return environment

    def spawn(self, *arguments):
        """Starts a command and does not wait."""
        return subprocess.Popen([BINARY, *arguments], env=self.environment(), stdin=subprocess.DEVNULL)

    def run(self, *arguments):
        return subprocess.run(
            [BINARY, *arguments], env=self.environment(), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120
        )

    def __call__(self, *arguments):
        """The output of a command that must succeed."""
        done = self.run(*arguments)
        if done.returncode != 0:
            raise AssertionError(f"{arguments} ended with {done.returncode}: {done.stderr}\n{self.tally.log()}")
        return done.stdout

    def fails(self, *arguments):
        """What a command says that must fail."""
        done = self.run(*arguments)
        if done.returncode == 0:
            raise AssertionError(f"{arguments} succeeded: {done.stdout}")
        return done.stderr
