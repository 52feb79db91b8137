"""Nothing but the plugins: what pytest is told lives in harness/plugin.py, of several processes in parallel.py."""

pytest_plugins = ["harness.parallel", "harness.plugin"]
