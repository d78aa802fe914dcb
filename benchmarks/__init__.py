"""Speed as ratios measured in one process, runs on Ray, and learning results; none of it is part of the test run."""

# Ray reads its environment when it is imported, which a benchmark may do before it imports anything of rlgan's.
from rlgan import workers as workers
