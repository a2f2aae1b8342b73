"""What an audit costs as it grows, in time, memory and requests: one module per question.

`workers`, `counts`, `checkpoints`, `store`, `simulation` and `cost` answer a question each; `hub`
multiplies their answers (`hub_tables`), and `page` writes them into docs/scaling.md. Beneath them
lie `fits` (exponents), `audits` (single audits in processes of their own), `zoos` (small zoos and
runs of them), and what is watched meanwhile: `memory`, `timed` (tasks), `traffic` (the store).
"""
