"""Speed as ratios measured in one process, and learning results; none of it is part of the test run."""
