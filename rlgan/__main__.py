"""`rlgan VERB ...`, or `python -m rlgan VERB ...`: the verbs of this package, and those of `rlgan.tuning`.

Here alone does `rlgan` know of `rlgan.tuning`.
"""

import functools
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


@functools.cache
def _completion() -> VerbModule:
    from rlgan.cli import main
    from rlgan.cli.completion import Completion

    return Completion((*main.VERBS, *VERBS))


VERBS: tuple[Verb, ...] = (
    Verb(
        "tune",
        "find out which settings matter and whether any of them beats maximum likelihood",
        "tune reward_baseline --data lines.txt --hours 2 --seeds 3",
        _tune,
        has_paths=True,
        has_plugins=True,
    ),
    Verb(
        "compare", "compare runs of an MLflow server side by side", "compare runs/a runs/b --out a-and-b.html", _compare
    ),
    Verb("completion", "print a shell completion script for verbs and settings", "completion bash", _completion),
)


def run(arguments: Sequence[str] | None = None) -> int:
    """Run a verb; see `rlgan.cli.main.main`."""
    spin_briefly()
    from rlgan.cli.main import main  # it imports torch, which reads how threads wait

    return main(arguments, VERBS)


if __name__ == "__main__":
    sys.exit(run())
