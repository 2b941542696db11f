"""Whose rows retention counts and lets go: the words by which its rows of `loss` name them."""

from __future__ import annotations

#: Not names that Kubernetes allows (RFC 1123 labels): the host's own rows, and those of containers in no known namespace.
HOST, NONE = "(host)", "(none)"
#: `cause` of rows of `loss` that say what retention let go; their `namespace` is a share's, `since` and `until` its ends.
CAUSE = "retention"
