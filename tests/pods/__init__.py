"""Containers and pods by runtimes of the tests' own."""

import os

# Children of the tests execute at once; gRPC's handlers of a fork, which they do not need, abort one in some hundreds of them.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "false")
