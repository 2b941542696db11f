"""Firsthand: security observability for Kubernetes, from the kernel, at first hand."""

__version__ = "0.1.0"
