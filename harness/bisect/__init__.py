"""Finds the version of a package that changed what models predict: ``imagenet-gate bisect``."""
