"""Ways to run containers: RuntimeClass."""
