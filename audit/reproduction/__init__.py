"""The claims of the method, each an experiment that prints its numbers and a verdict."""
