"""The reader: a process that has all libraries loaded and answers `ask`, `sql` and other clients.

A client tries the reader first (asker.py). If the reader does not answer, the client reads the history itself: nothing depends on the
reader. It forks a worker for each question (serving.py, worker.py). The worker ends after its answer, or when the client closes the
socket.
"""
