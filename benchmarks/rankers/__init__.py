"""Which ranker that needs no held-out accuracy ranks a zoo it has never seen best?

`table` fits and judges all that was tried: `candidates` and `agreement` are the rankers, `judging`
how they are judged, `zoos` what they are fitted on.
"""
