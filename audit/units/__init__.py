"""Single units: their nulls, their order, what a network is without them, their peers elsewhere."""
