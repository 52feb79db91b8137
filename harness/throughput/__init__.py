"""Images per second of the forward pass alone: ``pytest -m throughput``."""
