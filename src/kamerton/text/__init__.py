"""Words, tags, personal data, mojibake, near-duplicates, language identification, cells, safe text."""
