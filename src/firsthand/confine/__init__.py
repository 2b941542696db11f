"""What a process may do: the wall between roles, its rights, its filter of system calls."""
