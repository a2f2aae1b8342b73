"""Run tasks on a Ray cluster, of one machine or of many.

`engine` hands tasks out, `cluster` joins or starts a cluster, `slots` are what runs one task at a
time on some node, `packing` is how tasks travel, `probe` asks an address whether a cluster is
there, `options` reads the options. Ray is imported when the engine runs, and not before.
"""
