"""Feature entropy followed while a network trains, and read afterwards."""
