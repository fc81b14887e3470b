"""A model ready to be trained or asked: layouts, decoding, caches, FLOP and memory profile."""
