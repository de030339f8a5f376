"""Kinds that users define: CustomResourceDefinition, of the group apiextensions.k8s.io."""
