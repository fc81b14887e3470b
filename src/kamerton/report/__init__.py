"""The report: one HTML file, and the short form for the terminal."""
