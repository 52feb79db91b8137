"""The gate's tests, those of tests/, so that an installed project has them: ``pytest --pyargs harness.gate_tests``."""
