"""Evidence, plots, report: everything that is shown is a function of files."""
