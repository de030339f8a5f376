"""Tests of the scheduling plugins."""
