"""Nothing but the plugin: options, fixtures and summary live in harness/plugin.py."""

pytest_plugins = ["harness.plugin"]
