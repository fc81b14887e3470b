"""Texts as bags of words and of pieces of words: TF-IDF that reads any script."""

from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.pipeline import FeatureUnion

from kamerton.text.words import fold, words


def text_features(of_words: int = 20_000, of_letters: int = 30_000, shortest: int = 3) -> FeatureUnion:
    """Return TF-IDF features of words, pairs of words, and pieces of words, which tolerate inflection and misspelling.

    At most `of_words` words and pairs count, and `of_letters` pieces, which have from `shortest` to 5 letters.
    """
    whole = TfidfVectorizer(
        tokenizer=words,
        token_pattern=None,
        lowercase=False,
        ngram_range=(1, 2),
        sublinear_tf=True,
        max_features=of_words,
    )
    pieces = TfidfVectorizer(
        preprocessor=fold, analyzer="char_wb", ngram_range=(shortest, 5), sublinear_tf=True, max_features=of_letters
    )
    return FeatureUnion([("words", whole), ("letters", pieces)])
