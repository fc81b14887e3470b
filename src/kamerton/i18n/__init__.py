"""What Kamerton says to readers, in English and Russian."""
