"""Feature entropy followed while a network trains, and read afterwards.

- `follower`: in a training loop of one's own. `sample`: the images it looks at; `observing`: one
  look; `budget`: how much of the time may go into looking; `logs`: where rows go.
- `lightning`, `transformers`: the same as callbacks of PyTorch Lightning and of the Hugging Face
  Trainer.
- `checkpoints`: files with epoch numbers, read one after another, or as they come (`watching`).
- `trajectory`: what a table of rows says: entropy beside loss, their Kendall τ, when to stop.
  `figure`: the same drawn.
"""

from __future__ import annotations

from audit.following.follower import Follower

__all__ = ["Follower"]
