"""`rlgan VERB ...`, or `python -m rlgan VERB ...`: the verbs of this package, and those of `rlgan.tuning`.

Here alone does `rlgan` know of `rlgan.tuning`.
"""

import sys
from collections.abc import Sequence

from rlgan.base.threads_wait import spin_briefly
from rlgan.cli.verbs import Verb, VerbModule


def _tune() -> VerbModule:
    from rlgan.cli import tune as command

    return command


def _compare() -> VerbModule:
    from rlgan.cli import compare

    return compare


VERBS = (
    Verb("tune", "search which settings matter, and whether any of it beats likelihood", _tune, has_paths=True),
    Verb("compare", "runs of an MLflow server side by side", _compare),
)


def run(arguments: Sequence[str] | None = None) -> int:
    """Run a verb; see `rlgan.cli.main.main`."""
    spin_briefly()
    from rlgan.cli.main import main  # it imports torch, which reads how threads wait

    return main(arguments, VERBS)


if __name__ == "__main__":
    sys.exit(run())
