"""The studio: pages over all runs of a folder, from a data file to a verdict, for people who use no terminal."""
