"""The claims of the method as experiments that anyone can run: numbers, verdicts, figures.

- `form`: sources, architectures, and how networks are trained; `shipped/` holds those that come
  along. `images`: a source's images. `networks`: the two architectures.
- `case`: the networks of one architecture, source and seed: `trained` here, or `given`.
- `course`: loss and feature entropy over the epochs of a training.
- `claim`: what a claim is, and the rule of its verdict. `claims`: each of them. `estimates`: their
  statistics. `figures`: what they draw.
- `reproduce`: from claims and cases to verdicts and figures. `results`: tables and JSON.
"""
