"""How image sets lie on disk: a module for each form.

A reader gets a path that exists. It returns the split, or None if what lies there is not its form, decided by a look
at names; what is its form but cannot be used is a SplitError that names the place.
"""
