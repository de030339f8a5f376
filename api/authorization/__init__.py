"""What somebody may do: questions about access."""
