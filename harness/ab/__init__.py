"""Times two environments in turns: ``imagenet-gate ab``."""
