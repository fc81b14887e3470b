"""One sentence for each term that the pages use, for readers who have never met it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kamerton.core import registry
from kamerton.core.messages import Message, msg, term


@dataclass(frozen=True)
class Term:
    """A term of the field and what it means."""

    name: Message
    meaning: Message


def _by_name(*terms: Term) -> Mapping[str, Term]:
    return {one.name.template: one for one in terms}


EXPLAINED = _by_name(
    # ── the verdict ───────────────────────────────────────────────────────────────────────────
    Term(
        term("verdict"),
        msg("The decision about the tuned model: use it, do not use it, or not proven by these test rows."),
    ),
    Term(
        term("contender"),
        msg("Anything that answers the test rows: the tuned model, the untuned model, or a simpler method to beat."),
    ),
    Term(
        term("tuned contender"),
        msg("The model that this run trained, or was asked to judge."),
    ),
    Term(
        term("variant contender"),
        msg("The tuned model asked in another way; it is shown for comparison and does not count in the verdict."),
    ),
    Term(
        term("base contender"),
        msg("The pretrained model before training, asked without examples."),
    ),
    Term(
        term("prompt contender"),
        msg("A model that was not tuned, asked with an instruction and a few solved examples."),
    ),
    Term(
        term("classic contender"),
        msg("A method from before neural networks, such as counting words; quick to train and often hard to beat."),
    ),
    Term(
        term("trivial contender"),
        msg("An answer without thought, such as always the most common label; what does not beat it is useless."),
    ),
    Term(
        term("confidence interval"),
        msg("The range in which the true value plausibly lies; it is narrower the more test rows there are."),
    ),
    Term(
        term("p-value"),
        msg("How often chance alone would show so large a difference if there were none; below 0.05 it rarely does."),
    ),
    Term(
        term("Holm"),
        msg("A correction of p-values for many comparisons, because among many one is likely to look good by chance."),
    ),
    Term(
        term("margin"),
        msg("How much worse a model may be and still count as not worse; it is set before the test."),
    ),
    Term(
        term("standing"),
        msg(
            "What the interval of a difference shows: better or worse if it is all on one side of zero, equivalent if "
            "it is all within the margin, not worse if it stays above minus the margin, else unclear."
        ),
    ),
    Term(
        term("minimum detectable difference"),
        msg("The smallest true difference that so many test rows would show in 80 of 100 tests."),
    ),
    Term(
        term("seed"),
        msg("The number that all random choices of a training follow from: another seed gives a slightly other model."),
    ),
    Term(
        term("quantile"),
        msg("The value below which a given share of all values lies: half of them lie below the 50% quantile."),
    ),
    # ── probabilities ─────────────────────────────────────────────────────────────────────────
    Term(
        term("calibration"),
        msg("Whether probabilities are true: of the answers given with 80%, 80 of 100 should be right."),
    ),
    Term(
        term("calibration error"),
        msg("How far on average the probability of an answer is from the share of such answers that are right (ECE)."),
    ),
    Term(
        term("Brier score"),
        msg("The mean squared distance of the probabilities from what was right; less is better."),
    ),
    Term(
        term("negative log-likelihood"),
        msg("How surprised the model is by the right answers, in nats; less is better."),
    ),
    Term(
        term("temperature"),
        msg("One number by which the model's scores are divided, so that it is neither too sure nor too unsure."),
    ),
    # ── scores ────────────────────────────────────────────────────────────────────────────────
    Term(
        term("precision"),
        msg("Of the rows that were given a label, the share that really has it."),
    ),
    Term(
        term("recall"),
        msg("Of the rows that really have a label, the share that was given it."),
    ),
    # ── training ──────────────────────────────────────────────────────────────────────────────
    Term(
        term("loss"),
        msg("What training makes smaller: how unlikely the model finds the right answers, in nats."),
    ),
    Term(
        term("validation"),
        msg("A test in between on rows that are not trained on; it decides which state of the model is kept."),
    ),
    Term(
        term("epoch"),
        msg("One pass over all training rows."),
    ),
    Term(
        term("step"),
        msg("One update of the weights, after a batch of rows."),
    ),
    Term(
        term("learning rate"),
        msg("How far the weights move at each step: too little learns nothing, too much destroys what was known."),
    ),
    Term(
        term("gradient norm"),
        msg("How strongly the loss pulls at the weights at a step; sudden jumps are a sign of trouble."),
    ),
    Term(
        term("LoRA rank"),
        msg("How much a low-rank adapter can change the model: more rank, more trainable weights."),
    ),
    Term(
        term("weights trained"),
        msg("How many numbers of the model training may change; small methods leave nearly all of them as they are."),
    ),
    Term(
        term("training dynamics"),
        msg("How sure the model was of each training row over time; rows it never learns often have a wrong label."),
    ),
    Term(
        term("peak memory"),
        msg("The most memory that training held at any moment."),
    ),
    # ── forgetting ────────────────────────────────────────────────────────────────────────────
    Term(
        term("forgetting"),
        msg("What the model could do before training and now does worse, outside of the task."),
    ),
    Term(
        term("probe"),
        msg("Texts, questions and requests that have nothing to do with the task, on which forgetting is measured."),
    ),
    Term(
        term("forgetting dial"),
        msg("A mixture of the untuned and the tuned model: less of the training, and less forgotten."),
    ),
)
"""By the English name."""


def metric_terms(names: Sequence[str]) -> Mapping[str, Term]:
    """Return the metrics among these names that explain themselves; older results may name others."""
    known = [name for name in names if name in registry.names("metrics")]
    return {name: Term(term(name), registry.choose("metrics", name).meaning) for name in known}
