"""Nothing to configure: the plugin comes with the installation (entry point ``probes.plugin``)."""

pytest_plugins = ["pytester"]  # the plugin's own tests run pytest in pytest
