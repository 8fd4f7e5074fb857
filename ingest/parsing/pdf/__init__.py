"""The PDF reader: lines, columns, headings, running heads."""
