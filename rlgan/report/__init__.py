"""Tables, pictures and pages from plain data.

Nothing here measures or decides anything; verdicts come from `rlgan.evaluation`.
"""
