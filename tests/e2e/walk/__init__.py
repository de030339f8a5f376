"""Every verb of kubectl, chapter by chapter; `tests/e2e/test_walk.py` runs them with every version at hand.

A chapter is a function that takes a `Kubectl` in a fresh namespace and asserts as it goes. What it makes outside its
namespace it names after the namespace, and deletes.
"""
