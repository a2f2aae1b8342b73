"""What the measured zoos say of every measure: the findings' page, its figures and its tables.

`page` writes them, one section a module: `overview`, `entropy`, `layers`, `marks`, `votes` and
`limits`; `columns` names the columns that are spoken of, `words` how numbers are said, `figures`
draws.
"""
