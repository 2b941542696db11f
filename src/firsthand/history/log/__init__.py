"""The durable log: chunks, what is written and read of it, who waits for it."""
