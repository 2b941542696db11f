"""The keeper's work: the log into segments, merges, retention, scrub."""
