"""The search space that the settings span, and studies: parts of it with a question.

Nothing here runs a trial.
"""
