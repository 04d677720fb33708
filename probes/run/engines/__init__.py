"""The engines that do several pieces of work at once, or a part of the work."""
