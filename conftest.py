"""The root conftest: nothing but the list of plugins, one for the core and one for each optional package."""

from harness.early import PLUGINS

pytest_plugins = list(PLUGINS)
