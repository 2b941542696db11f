"""The processes, a module each, named as the process: `main` and no more."""
