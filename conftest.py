"""Nothing to configure: the plugin comes with the installation (entry point ``probes.plugin``)."""
