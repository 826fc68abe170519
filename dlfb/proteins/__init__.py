"""The chapter: one file of helpers for each notebook, more or less."""
