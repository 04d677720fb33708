"""Claims: what a test declares, the options, the evidence that a verdict leaves, and the ledger of
looks."""
