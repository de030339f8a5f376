"""Events in their newer form; they are stored as `api/core/event.py` has them."""
