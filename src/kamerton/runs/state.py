"""What a run has done so far: `environment.json` as a typed record, from the first stage to the result."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from typing import Any

from kamerton.core.errors import Fault, RunError
from kamerton.core.messages import Message, msg
from kamerton.core.outcomes import Proof, Resources, Selection


@dataclass(frozen=True)
class DataSource:
    """The data file, or the folder, that the rows came from."""

    path: str
    sha256: str


@dataclass(frozen=True)
class BaseModel:
    """A model that the run was given: the pretrained one, or one that was tuned elsewhere."""

    name: str
    fingerprint: str
    parts: Mapping[str, str]
    """Fingerprint of each part: configuration, tokenizer, weights."""
    parameters: int


@dataclass(frozen=True)
class State:
    """The progress of a run. Unknown values have their defaults; `environment.json` omits them."""

    kamerton: str = ""
    python: str = ""
    platform: str = ""
    processors: int = 0
    device: str = ""
    libraries: Mapping[str, str] = field(default_factory=dict)
    """Name to version."""
    data: DataSource | None = None
    model: BaseModel | None = None
    tuned: BaseModel | None = None
    """The model that was tuned elsewhere; None where the run trains one."""
    seed: int = 0
    seconds: Mapping[str, float] = field(default_factory=dict)
    """Stage to seconds, over all sessions of the run."""
    contended: bool = False
    """Whether every untuned contender has answered the test rows."""
    selections: Mapping[str, Selection] = field(default_factory=dict)
    """Contender to the cost of choosing its prompt."""
    forecast: Resources | None = None
    """What training was estimated to take, for the updates that it made."""
    measured: Resources | None = None
    peak_bytes: int = 0
    """The most memory that training held."""
    rates: Mapping[str, float | None] = field(default_factory=dict)
    """Learning rate to validation loss in the range test; None where the loss was not finite."""
    rate: float | None = None
    """The learning rate that the range test chose."""
    artefact: Proof | None = None
    """That the saved model gave the same answers in a fresh process."""
    classic_rows: int | None = None
    """How many rows, of training and validation, the trivial and classic contenders learned from."""

    @property
    def base(self) -> BaseModel:
        """The pretrained model.

        Raises:
            RunError: the run has none yet.
        """
        if self.model is None:
            remedy = msg("`kamerton resume RUN` continues it")
            raise RunError(Fault(msg("the run has no base model yet"), remedy=remedy))
        return self.model


UNKNOWN = State()


def as_json(state: State) -> dict[str, Any]:
    """Return the known values of a state, as JSON."""
    empty = asdict(UNKNOWN)
    return {name: value for name, value in asdict(state).items() if value != empty[name]}


def other_versions(state: State) -> Message | None:
    """Return which versions of Python and the libraries differ from those of a run; None if none does."""
    then = {"kamerton": state.kamerton, **state.libraries}
    now = {name: version(name) for name in then if then[name]}
    changed = [f"{name} {then[name]} → {now[name]}" for name in now if now[name] != then[name]]
    if not changed:
        return None
    rule = "the run was made with other versions ({changes}): answers may differ in their last digits"
    return msg(rule, changes=", ".join(changed))
