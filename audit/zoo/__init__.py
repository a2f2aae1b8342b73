"""Small zoos trained on the spot.

- `recipes`: a factorial grid of recipes, and what lies beside each checkpoint.
- `training`: one recipe becomes one checkpoint.
- `demo`: the demonstration on scikit-learn's digits.
"""
