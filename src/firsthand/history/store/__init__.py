"""What the history holds: manifest and chain, segments and what is known of them, views over all of it."""
