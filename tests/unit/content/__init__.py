"""Tests of firsthand.content."""
