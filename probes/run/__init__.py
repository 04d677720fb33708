"""A piece of work, where it runs, and what a test asks for."""
