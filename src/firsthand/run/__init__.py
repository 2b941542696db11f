"""The supervisor: it starts the roles, watches over them, and starts again what ends."""
