"""How the OCI image is made (`make image`): docs/decisions/image.md says against what."""
