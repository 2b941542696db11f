"""How `make image` makes the OCI image (docs/install.md, As a pod)."""
