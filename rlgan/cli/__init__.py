"""What `rlgan VERB ...` does: a module a verb, each with its options, and what several of them share.

Each is imported once its verb is typed, and imports what takes seconds only when what was typed has been checked. What
a verb does is done in `rlgan.runs` and `rlgan.tuning`; here is only what was typed, and advice on it.
"""
