"""What is declared of each subject, a module each; everything else about a subject is derived from it (registry.py)."""
