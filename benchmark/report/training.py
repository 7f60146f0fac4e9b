"""How networks came by their weights, in words: for captions and for names of rows that differ in nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath

from msgspec.structs import replace

from attrobust.benchmark.store.plan import SubjectEntry
from attrobust.benchmark.store.rows import Training
from attrobust.benchmark.training.recipe import tuning_epochs
from attrobust.types import Settings

MODEL, CHECKPOINT, UNTRAINED, RECIPE = "model", "checkpoint", "untrained", "recipe."
"""Names of facts; those of a recipe start with the last."""
TUNING = ("tuning_epochs", "tuning_rate")
ORDER = ("epochs", "optimizer", "learning_rate", "schedule", "batch_size")
"""What is said first of a recipe."""
SILENT: Settings = {"weight_decay": 0.0, "clip": 0.0, "augment": "none"}
"""Values of a recipe that go without saying, unless they tell rows apart."""
DIGITS = 8
"""Of a digest, where nothing else tells rows apart."""


@dataclass(frozen=True, kw_only=True)
class Fact:
    """Something that may tell two networks apart: its value, and what to say of it."""

    value: object
    words: str


@dataclass(frozen=True, kw_only=True)
class Origin:
    """What a table says of a network beside its label and its seed.

    Attributes:
        model: architecture as typed.
        training: how it was trained; None where nothing was.
        checkpoint: where a user's weights are from, of a file its folder and name; empty for others, or where an older
            version did not say.
        facts: by name, all of it that may tell it from another network.
    """

    model: str
    training: Training | None
    checkpoint: str
    facts: dict[str, Fact]

    @property
    def epochs(self) -> int | None:
        """Length of the training, without that of the weights it went on from."""
        return None if self.training is None else _epochs(self.training)

    @property
    def recipe(self) -> str:
        """The training in words, without its epochs; of other networks where their weights are from."""
        if self.training is None:
            return next((self.facts[name].words for name in (CHECKPOINT, UNTRAINED) if name in self.facts), "")
        keys = [key for key in _ordered(self.training.recipe) if key not in ("epochs", *TUNING)]
        start = [self.facts["start"].words] if "start" in self.facts else []
        return ", ".join([*_said(keys, self.training), *start])


def origin_of(subject: SubjectEntry) -> Origin:
    """What a table says of a row."""
    training, plugins = subject.trained, subject.plugins
    facts = {MODEL: Fact(value=subject.model, words=subject.architecture)}
    if training is not None:
        plugins += training.plugins[len(plugins) :]
        keys = [key for key in _ordered(training.recipe) if key not in TUNING or training.start]
        facts |= {RECIPE + key: Fact(value=training.recipe[key], words=_words(key, training)) for key in keys}
        if training.start:
            facts["start"] = Fact(value=training.start, words=f"from weights of {training.start.get('name')}")
        if sha256 := training.dataset.get("train_sha256"):
            facts["images"] = Fact(value=training.dataset, words=f"trained on images {sha256[:DIGITS]}")
    elif subject.is_untrained:
        facts[UNTRAINED] = Fact(value=True, words=UNTRAINED)
    elif subject.method is None:
        facts[CHECKPOINT] = Fact(value=subject.checkpoint, words=f"checkpoint {_place(subject.checkpoint)}".rstrip())
    if subject.method is not None:
        settings = subject.method.get("settings", {})
        facts |= {f"method.{key}": Fact(value=value, words=f"{key}={value}") for key, value in settings.items()}
    facts |= {f"plugin.{index}": Fact(value=digest, words=_file(digest)) for index, digest in enumerate(plugins)}
    return Origin(model=subject.architecture, training=training, checkpoint=_place(subject.checkpoint), facts=facts)


def _place(checkpoint: str) -> str:
    """A file with its folder: enough to find it again, and nothing of the machine that goes into a paper."""
    return checkpoint if "://" in checkpoint else "/".join(PurePath(checkpoint).parts[-2:])


def trainings(named: Sequence[tuple[str, Origin]]) -> str:
    """How the networks of a table came by their weights, in sentences; empty where nothing is known.

    Args:
        named: every network with the name of its row.
    """
    known = [origin.training for _, origin in named if origin.training is not None]
    sentences = []
    if known:
        recipe, tuned = known[0].recipe, sorted({_epochs(item) for item in known if item.start})
        keys = [key for key in _ordered(recipe) if key not in TUNING]
        shared = [key for key in keys if all(item.recipe.get(key) == recipe[key] for item in known)]
        words = _said([key for key in shared if key != "epochs"], replace(known[0], start={}))
        if "epochs" in shared:
            on = f" ({', '.join(map(str, tuned))} where it goes on from trained weights)" if tuned else ""
            words = [f"for {_length(recipe['epochs'])}{on}", *words]
        rest = "; the rows name what differs" if len(shared) < len(keys) else ""
        sentences.append(f"Trained {', '.join(words)}{rest}")
    users = {name: origin.recipe for name, origin in named if CHECKPOINT in origin.facts}
    sentences += [f"{name} is a user's {words}" for name, words in users.items()]
    return "".join(f" {sentence}." for sentence in sentences)


def _ordered(recipe: Settings) -> list[str]:
    return [*(key for key in ORDER if key in recipe), *(key for key in recipe if key not in ORDER)]


def _said(keys: Sequence[str], training: Training) -> list[str]:
    """A recipe in words, without what goes without saying."""
    return [_words(key, training) for key in keys if training.recipe[key] != SILENT.get(key, training)]


def _epochs(training: Training) -> int:
    """Its length; 0 where a plan or a row that somebody edited has no number there."""
    epochs, share = (_number(training.recipe.get(key)) for key in ("epochs", "tuning_epochs"))
    return tuning_epochs(int(epochs), share) if training.start else int(epochs)


def _number(value: object) -> float:
    return value if isinstance(value, (int, float)) else 0.0


def _length(epochs: int) -> str:
    return "1 epoch" if epochs == 1 else f"{epochs} epochs"


def _words(key: str, training: Training) -> str:
    """A field of a recipe as it was applied to a network, in words."""
    value = training.recipe[key]
    match key:
        case "epochs":
            return _length(_epochs(training))
        case "learning_rate":
            share = _number(training.recipe.get("tuning_rate")) if training.start else 1.0
            return f"learning rate {share * _number(value):g}"
        case "optimizer" | "schedule":
            return str(value)
        case "augment":
            return "no augmentation" if value == "none" else f"augmentation {value}"
        case _:
            shown = f"{value:g}" if isinstance(value, float) else value
            return f"{key.replace('_', ' ')} {shown}"


def _file(digest: str) -> str:
    """A plug-in by the digest of its file, or another distribution by its version."""
    if not digest:
        return "no plug-in"
    return digest if " " in digest else f"plug-in file {digest[:DIGITS]}"
