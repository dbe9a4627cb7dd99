"""Files, tables and Hub data sets as rows, every value as it is written, whatever their layout."""
