"""From files, tables and Hub data sets to rows, and from rows to tokens."""
