"""How Firsthand itself is: status, doctor, usage."""
