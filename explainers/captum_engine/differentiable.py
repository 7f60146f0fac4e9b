"""``differentiable``: makes the maps of unmodified Captum explainers differentiable."""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Generic, Protocol, TypeVar, cast

import torch
from captum import attr
from torch import Tensor, fx, nn

from attrobust.explainers.captum_engine.captum_lrp import CaptumLRP
from attrobust.explainers.captum_engine.deeplift_rules import (
    RescaleDeepLift,
    RescaleDeepLiftShap,
    Separated,
    check_complete,
)
from attrobust.explainers.captum_engine.graph import GraphMode
from attrobust.networks.copying import independent_copy
from attrobust.networks.private_copy import CALLED_ONCE, Network, one_module_per_call, private_copy
from attrobust.networks.smoothed import replace_modules

_FORWARD_ONLY = (
    *(attr.Saliency, attr.InputXGradient, attr.IntegratedGradients, attr.GradientShap),
    *(attr.FeatureAblation, attr.Occlusion, attr.ShapleyValueSampling),
)
"""Explainers that only call the network."""


A = TypeVar("A", bound=Callable[..., Any])
A_co = TypeVar("A_co", bound=Callable[..., Any], covariant=True)


class CaptumExplainer(Protocol[A_co]):
    """What ``differentiable`` takes; ``A_co`` is the signature of ``attribute``."""

    @property
    def attribute(self) -> A_co:
        """Attributions of inputs."""


def differentiable(explainer: CaptumExplainer[A]) -> Differentiable[A]:
    """Wrap a Captum explainer so that its maps can be differentiated.

    ``differentiable(IntegratedGradients(model)).attribute(x, target=y)`` returns what Captum returns, attached to
    ``x``, so that any function of the map can be differentiated with respect to ``x`` and to the network's parameters.
    The arguments of ``attribute`` are Captum's. Neither the installed Captum nor the model is changed, not even during
    the call; calls on several threads do not affect each other.

    Supported: Saliency, InputXGradient, IntegratedGradients, GradientShap, DeepLift, DeepLiftShap, GuidedBackprop,
    Deconvolution (whose derivative is zero), LayerGradCam, GuidedGradCam, NoiseTunnel around any of these, LRP, and the
    perturbation-based FeatureAblation, Occlusion and ShapleyValueSampling.

    Values differ from Captum 0.9's only where those are wrong: GuidedBackprop, Deconvolution, GuidedGradCam and
    DeepLift miss functional activations; DeepLift ignores max-pooling next to an activation, overwrites overlapping
    pooling windows, and takes a fallback of max-pooling from the batch's first image; LRP mishandles ``+=``. Networks
    with hidden activations are rewritten, see ``attrobust.networks.private_copy``.

    Captum sums Occlusion, FeatureAblation and ShapleyValueSampling in float32, so that central differences of their
    maps are exact to three or four digits only. In a network that must be rewritten, the layer of GuidedGradCam must
    not be a container.

    Args:
        explainer: an instance of a Captum class.

    Raises:
        TypeError: the class is not supported.
        ValueError: on ``attribute``, where the network cannot be explained.
    """
    return Differentiable(explainer)


class Differentiable(Generic[A]):
    """A Captum explainer with differentiable maps; see ``differentiable``."""

    def __init__(self, explainer: CaptumExplainer[A]) -> None:
        _check(explainer)
        self.explainer = explainer

    @property
    def attribute(self) -> A:
        """Captum's ``attribute`` with the graph kept: its arguments and what it returns are Captum's.

        ``inputs`` must be one batch that requires grad, not a tuple of batches; explainers that set hooks take networks
        of one argument only. A call raises ValueError where ``inputs`` is something else, or the network cannot be
        explained.
        """
        return cast(A, self._attribute)

    def _attribute(self, inputs: Tensor, *args: Any, **kwargs: Any) -> Any:
        if not (isinstance(inputs, Tensor) and inputs.requires_grad):
            raise ValueError("inputs must be one tensor that requires grad: x = x.requires_grad_()")
        if kwargs.get("additional_forward_args") is not None and type(_inner(self.explainer)) not in _FORWARD_ONLY:
            kind = type(self.explainer).__name__
            raise ValueError(f"{kind} is differentiable for networks of one argument; wrap the others into the network")
        with torch.enable_grad():
            return attribute(self.explainer, inputs, *args, create_graph=True, **kwargs)


def attribute(explainer: Any, x: Tensor, *args: Any, create_graph: bool, **kwargs: Any) -> Any:
    """Run a supported Captum explainer on a private copy of its network; see ``differentiable``.

    Args:
        explainer: supported; it is not changed.
        x: a batch that requires grad.
        args, kwargs: Captum's.
        create_graph: whether the result is to be differentiated.
    """
    if isinstance(explainer, attr.LRP):
        return _attached(x, CaptumLRP(explainer.model).attribute(x, *args, **kwargs))
    mode = GraphMode() if create_graph else None
    own = _adapted(explainer, x[:1].detach(), mode)
    try:
        with nullcontext() if mode is None else mode:
            result = own.attribute(x, *args, **kwargs)
    finally:
        if mode is not None:
            mode.close()
    if isinstance(own, (RescaleDeepLift, RescaleDeepLiftShap)) and not kwargs.get("custom_attribution_func"):
        try:
            check_complete(own, x, result[0] if isinstance(result, tuple) else result, kwargs.get("target"))
        except ValueError:
            if x.dtype == torch.float64 or x.device.type == "mps":
                raise
            # In deep networks rounding looks like something missing; in float64 it does not.
            _in_float64(explainer, x, args, kwargs)
    return result if mode is None else _attached(x, result)


def _in_float64(explainer: Any, x: Tensor, args: tuple[Any, ...], settings: dict[str, Any]) -> None:
    """Run DeepLift in float64, for the check of its contributions; raises ValueError where it fails."""

    def precise(value: Any) -> Any:
        return value.double() if isinstance(value, Tensor) and value.is_floating_point() else value

    own = copy.copy(explainer)
    own.model = own.forward_func = independent_copy(explainer.model).double()
    given, named = map(precise, args), {name: precise(value) for name, value in settings.items()}
    attribute(own, x.detach().double().requires_grad_(), *given, create_graph=False, **named)


def _attached(x: Tensor, result: Any) -> Any:
    """The result plus zero times ``x``, so that a map that is constant in ``x`` has a derivative, of zero."""
    if isinstance(result, tuple):
        return tuple(_attached(x, item) for item in result)
    zeros = 0 * x.flatten(1).sum(dim=1)
    return result + (zeros.view(-1, *(1,) * (result.dim() - 1)) if len(result) == len(x) else zeros.sum())


def _inner(explainer: Any) -> Any:
    """The explainer inside a noise tunnel, or the explainer itself."""
    return explainer.attribution_method if isinstance(explainer, attr.NoiseTunnel) else explainer


def _check(explainer: Any) -> None:
    inner = _inner(explainer)
    known = (*_FORWARD_ONLY, *_ADAPTERS)
    if type(inner) not in known and type(explainer) is not attr.LRP:
        names = ", ".join(sorted(kind.__name__ for kind in (*known, attr.LRP, attr.NoiseTunnel)))
        raise TypeError(f"{type(inner).__name__} cannot be made differentiable; supported are {names}")


def _adapted(explainer: Any, image: Tensor, mode: GraphMode | None) -> Any:
    """A copy of ``explainer`` that works on a private copy of its network."""
    if isinstance(explainer, attr.NoiseTunnel):
        return attr.NoiseTunnel(_adapted(explainer.attribution_method, image, mode))
    if type(explainer) in _ADAPTERS:
        return _ADAPTERS[type(explainer)](explainer, image, mode)
    own = copy.copy(explainer)
    own.forward_func = _outside(explainer.forward_func, mode)
    return own


def _outside(forward: Callable[..., Any], mode: GraphMode | None) -> Callable[..., Any]:
    if mode is None:
        return forward

    def run(*args: Any) -> Any:
        with mode.network():
            return forward(*args)

    return run


def _hooked(explainer: Any, image: Tensor, mode: GraphMode | None) -> Any:
    own = copy.copy(explainer)
    own.model = own.forward_func = _rectified(explainer.model, image, mode)
    own.backward_hooks = []
    return own


def _deeplift(explainer: Any, image: Tensor, mode: GraphMode | None) -> Any:
    network = _network(explainer.model, image, mode)
    replace_modules(network, lambda module: Separated(module) if isinstance(module, CALLED_ONCE) else None)
    kind = RescaleDeepLiftShap if isinstance(explainer, attr.DeepLiftShap) else RescaleDeepLift
    own = kind(network, multiply_by_inputs=explainer.multiplies_by_inputs)
    own.eps = explainer.eps
    return own


def _gradcam(explainer: Any, image: Tensor, mode: GraphMode | None) -> Any:
    if not isinstance(explainer.forward_func, nn.Module):
        raise ValueError(
            "LayerGradCam needs the network itself, an nn.Module, where Captum also takes a function of it"
        )
    network = private_copy(explainer.forward_func, image)
    network.around = _around(mode)
    return attr.LayerGradCam(network, _same_layer(explainer.forward_func, explainer.layer, network))


def _guided_gradcam(explainer: Any, image: Tensor, mode: GraphMode | None) -> Any:
    model = explainer.guided_backprop.model
    network = _rectified(model, image, mode)
    return attr.GuidedGradCam(network, _same_layer(model, explainer.grad_cam.layer, network))


def _network(model: nn.Module, image: Tensor, mode: GraphMode | None) -> Network:
    network = model if isinstance(model, Network) else one_module_per_call(model, image)
    network.around = _around(mode)
    return network


def _around(mode: GraphMode | None) -> Callable[[], AbstractContextManager[None]]:
    """What a network's own forward pass runs in."""
    return nullcontext if mode is None else mode.network


def _rectified(model: nn.Module, image: Tensor, mode: GraphMode | None) -> Network:
    network = _network(model, image, mode)
    if not any(isinstance(module, nn.ReLU) for module in network.modules()):
        raise ValueError(
            f"{network.kind} has no ReLU, so that Captum would return its plain gradient; "
            "make its activations modules of a class derived from nn.ReLU"
        )
    return network


def _same_layer(model: nn.Module, layer: nn.Module, network: Network) -> nn.Module:
    """The private copy's layer that corresponds to ``layer`` of the model."""
    if network is model:
        return layer
    names = [name for name, module in model.named_modules() if module is layer]
    if not names:
        raise ValueError(f"the layer {type(layer).__name__} is not part of the model")
    inner = network.network
    if isinstance(inner, fx.GraphModule) and not any(node.target == names[0] for node in inner.graph.nodes):
        raise ValueError(f"layer {names[0]!r} is a container and gone in the rewritten network; name a layer inside it")
    return inner.get_submodule(names[0])


_ADAPTERS: dict[type, Callable[[Any, Tensor, GraphMode | None], Any]] = {
    attr.GuidedBackprop: _hooked,
    attr.Deconvolution: _hooked,
    attr.DeepLift: _deeplift,
    attr.DeepLiftShap: _deeplift,
    attr.LayerGradCam: _gradcam,
    attr.GuidedGradCam: _guided_gradcam,
}
