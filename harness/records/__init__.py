"""What a run leaves: evidence, results, environment, and the run folder; read by everything that follows the gate."""
