"""Times two environments alternately: ``imagenet-gate ab``."""
