"""Names and holders of addresses: the words of their rules, and how they come into rows."""
