"""Version 2 of autoscaling; a folder named after a version holds what differs from v1."""
