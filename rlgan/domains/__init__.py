"""Domains: what is measured and rewarded of one kind of sequences, molecules for instance.

A domain is a folder of plug-ins that a user could have written: a task, rewards, a metric. Their names stand in
`rlgan.extensions.sources.SHIPPED`, and no other room imports them: whoever needs one asks for it by its name. How runs
are trained and judged is not here.
"""
