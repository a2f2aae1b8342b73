"""Networks with other weights that compute the same function: rescaled, folded, permuted.

What a measure must not notice, if it is to judge functions and not the way they are written down.
"""
