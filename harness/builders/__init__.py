"""Builders of models that are not torchvision's; ``builder:`` in ``expected_accuracy.yaml`` names their functions."""
