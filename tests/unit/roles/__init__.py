"""Tests of firsthand.roles."""
