"""Check that a task and a method fit a model, by its structure alone, before anything is trained."""

from transformers import PreTrainedModel

from kamerton.core.contracts import Method, ModelFacts, ModelHead
from kamerton.core.errors import Fault, ModelError
from kamerton.core.messages import Wording, msg
from kamerton.models.heads import empty_model, missing_heads
from kamerton.models.quantize import quantized
from kamerton.models.structure import TRAINS_TOKENS
from kamerton.runs.recipe import Recipe
from kamerton.session.machine import Machine
from kamerton.session.planner import candidates
from kamerton.session.setup import make_method


def check_fit(recipe: Recipe, form: ModelHead, facts: ModelFacts, rows: int, machine: Machine) -> PreTrainedModel:
    """Check that a task and a method fit the model, and return its structure, without weights.

    Without a method in the recipe, the planner later chooses one that fits. The number of rows may be rough.

    Raises:
        ModelError: they do not fit, with the reason and what to take instead.
    """
    try:
        empty = empty_model(facts.folder, form.model_class, form.config)
    except (OSError, ValueError) as error:
        names = {"family": facts.family, "model_class": form.model_class}
        rule = msg(
            "models of the family {family} have no head for this task: transformers has no {model_class} of it", **names
        )
        remedy = msg("choose another model; `kamerton models` lists some")
        raise ModelError(Fault(rule, facts.name, remedy)) from error
    form.start(empty, missing_heads(facts.folder, empty))
    if not recipe.method.name:
        return empty
    method = make_method(recipe)
    if reason := _refusal(method, empty, facts, form):
        other = candidates(facts, rows, machine, empty)[0].word
        rule = msg(
            "{method} does not fit this model ({model_class}): {reason}",
            method=recipe.method.name,
            model_class=type(empty).__name__,
            reason=reason,
        )
        raise ModelError(Fault(rule, facts.name, msg("choose another method: --method {method}", method=other)))
    if recipe.model.new_tokens and (reason := method.refuses_tokens(empty)):
        raise ModelError(Fault(reason, "model.new_tokens", TRAINS_TOKENS))
    return empty


def _refusal(method: Method, empty: PreTrainedModel, facts: ModelFacts, form: ModelHead) -> Wording:
    """Return why a method cannot be put on a model; an empty string if it can."""
    reason = method.refuses(empty)
    if reason or not method.quantization:
        return reason
    try:
        quantized(facts.folder, form.model_class, form.config, method.quantization)
    except ModelError as error:
        return error.faults[0].rule
    return ""
