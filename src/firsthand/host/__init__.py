"""What the machine and its clocks say, and how processes end."""
