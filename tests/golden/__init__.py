"""A history as a version before wrote it, and what every question, verb and export said of it: `python -m tests.golden` writes both anew."""
