"""From the rings to the log: reading, enriching, proving, measuring."""
