"""The merged model as one GGUF file, for llama.cpp and what stands on it."""

from kamerton.plugins.exports._gguf import GgufExport


class Gguf(GgufExport):
    """Write one GGUF file with weights, tokenizer, merges, added tokens and template, for llama.cpp's server.

    Proven there: token ids through its own template and tokenizer, and whole distributions of next tokens.
    """
