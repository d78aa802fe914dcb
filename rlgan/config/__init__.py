"""The configuration of a run: all settings composed, checked against each other, addressed by dotted paths.

A setting lives beside what it sets, in its own room; here is only what joins them.
"""
