"""What came of a sweep, as data: measures to search by, which settings matter, what beats what and how surely.

Nothing here runs a trial or draws a picture.
"""
