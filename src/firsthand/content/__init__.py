"""Whether what the page cache gives to readers is what the disk holds: which files, compared how, and reported."""
