"""Tests of measuring and breaking."""
