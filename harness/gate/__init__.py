"""Predictions and expected values -> a verdict; integers and statistics, no torch."""
