"""Single units: their nulls, their order, what a network is without them, their peers elsewhere.

- `standing`: how sure a unit's number is, what chance would give, which unit it repeats.
- `order`: rankings of units, and whether classes agree about them.
- `across`, `comparison`: two networks' units beside each other, the tests and their verdicts.
  `layers`: units as arrays, and which layers stand beside each other; `distributions`,
  `class_order`, `matching`, `shared`: one question each; `responses`: what units answer to images.
- `figure`, `comparison_figure`: pictures of both; `canvas`: the door to matplotlib.
"""
