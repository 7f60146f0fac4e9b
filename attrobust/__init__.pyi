"""The public names and their types; ``__init__.py`` reads them from here and imports each on first use."""

from .attacks import register_attack as register_attack
from .attacks.base import Attack as Attack
from .attacks.base import AttackOutput as AttackOutput
from .attacks.base import Clean as Clean
from .attacks.base import Context as Context
from .attacks.base import Explain as Explain
from .attacks.base import Observer as Observer
from .attacks.base import Results as Results
from .benchmark.checkpoints.card import Published as Published
from .benchmark.checkpoints.card import WeightCard as WeightCard
from .benchmark.checkpoints.card import checkpoints as checkpoints
from .benchmark.checkpoints.find import load as load
from .benchmark.data import register_dataset as register_dataset
from .benchmark.data.base import ArraySplit as ArraySplit
from .benchmark.data.base import Dataset as Dataset
from .benchmark.data.base import Loaded as Loaded
from .benchmark.data.base import Split as Split
from .benchmark.data.preparation import Interpolation as Interpolation
from .benchmark.data.preparation import Preparation as Preparation
from .benchmark.models import register_model as register_model
from .benchmark.models.base import ModelFamily as ModelFamily
from .benchmark.models.normalization import Normalization as Normalization
from .benchmark.notebook.comparison import Comparison as Comparison
from .benchmark.notebook.comparison import compare as compare
from .benchmark.notebook.evaluation import evaluate as evaluate
from .benchmark.notebook.networks import RunNetworks as RunNetworks
from .benchmark.notebook.networks import load_run as load_run
from .benchmark.notebook.result import Evaluation as Evaluation
from .benchmark.notebook.result import Maps as Maps
from .benchmark.notebook.result import Scored as Scored
from .benchmark.report.frame import results as results
from .benchmark.report.frame import scores as scores
from .benchmark.store.rows import MetricFacts as MetricFacts
from .explainers import register_explainer as register_explainer
from .explainers.base import Explainer as Explainer
from .explainers.base import UnderivedExplainer as UnderivedExplainer
from .explainers.captum_engine.differentiable import CaptumExplainer as CaptumExplainer
from .explainers.captum_engine.differentiable import Differentiable as Differentiable
from .explainers.captum_engine.differentiable import differentiable as differentiable
from .explainers.shared.chunks import memory_budget as memory_budget
from .maps.reduction import Reduction as Reduction
from .maps.reduction import reduce_map as reduce_map
from .maps.seeds import ImageStreams as ImageStreams
from .methods import register_method as register_method
from .methods.base import Batch as Batch
from .methods.base import Method as Method
from .metrics import register_metric as register_metric
from .metrics.base import CaseMetric as CaseMetric
from .metrics.base import Metric as Metric
from .metrics.base import Quality as Quality
from .metrics.base import Similarity as Similarity
from .metrics.base import SpatialSimilarity as SpatialSimilarity
from .metrics.shared.case import Case as Case
from .metrics.shared.retraining import RetrainingContext as RetrainingContext
from .metrics.shared.retraining import RetrainingMetric as RetrainingMetric
from .networks.passes import Passes as Passes
from .networks.smoothed import Normalize as Normalize
from .networks.smoothed import softplus_model as softplus_model
from .outputs import with_logits as with_logits
from .threat import ThreatModel as ThreatModel
from .types import Amount as Amount
from .types import Card as Card
from .types import Cost as Cost
from .types import DatasetFacts as DatasetFacts
from .types import Flag as Flag
from .types import ImageFacts as ImageFacts
from .types import Named as Named
from .types import Scope as Scope
from .types import Settings as Settings
from .types import SplitName as SplitName
from .types import UsageError as UsageError

__version__: str
__all__ = [
    "Amount",
    "ArraySplit",
    "Attack",
    "AttackOutput",
    "Batch",
    "CaptumExplainer",
    "Card",
    "Case",
    "CaseMetric",
    "Clean",
    "Comparison",
    "Context",
    "Cost",
    "Dataset",
    "DatasetFacts",
    "Differentiable",
    "Evaluation",
    "Explain",
    "Explainer",
    "Flag",
    "ImageFacts",
    "ImageStreams",
    "Interpolation",
    "Loaded",
    "Maps",
    "Method",
    "Metric",
    "MetricFacts",
    "ModelFamily",
    "Named",
    "Normalization",
    "Normalize",
    "Observer",
    "Passes",
    "Preparation",
    "Published",
    "Quality",
    "Reduction",
    "Results",
    "RetrainingContext",
    "RetrainingMetric",
    "RunNetworks",
    "Scope",
    "Scored",
    "Settings",
    "Similarity",
    "SpatialSimilarity",
    "Split",
    "SplitName",
    "ThreatModel",
    "UnderivedExplainer",
    "UsageError",
    "WeightCard",
    "checkpoints",
    "compare",
    "differentiable",
    "evaluate",
    "load",
    "load_run",
    "memory_budget",
    "reduce_map",
    "register_attack",
    "register_dataset",
    "register_explainer",
    "register_method",
    "register_metric",
    "register_model",
    "results",
    "scores",
    "softplus_model",
    "with_logits",
]
