"""Speed as ratios measured in one process, runs on Ray, and learning results; none is measured by the tests.

The tests run each benchmark in a tiny form, so that none stops working unnoticed. A module that
ends with `if __name__ == "__main__"` is a benchmark, is found by itself (tests/unit/test_benchmarks_run.py), and has
beside `main`

    TINY_MARKS = ("ray",)              # only where it begins Ray ("ray"), takes seconds ("heavy") or much more ("slow")
    NEEDS = ("transformers",)          # only where it needs libraries that not every Python has

    def tiny(folder: Path) -> list[str]:
        return ["--repeats", "1"]      # the arguments of a form that ends in a few seconds and measures nothing

`folder` is an empty one, for files that it reads or writes. Every other module here is a helper of those.
"""

# Ray reads its environment when it is imported, which a benchmark may do before it imports anything of rlgan's.
from rlgan import workers as workers
