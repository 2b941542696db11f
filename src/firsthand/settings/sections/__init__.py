"""The settings that belong to no one subject: a module for each section of the file. `settings/declare.py` says how one is declared."""
