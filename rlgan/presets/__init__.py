"""Points of the one space of settings, by name: papers, first steps, controls.

A preset sets values and computes nothing. What a value does stands where the setting lives.
"""
