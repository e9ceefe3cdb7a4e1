"""The peers of the training-step benchmark: each turns a float model into its own way of 6 bits.

| peer | quantizes | mask |
|---|---|---|
| mask only | nothing | torch.nn.utils.prune |
| ModelOpt | weights and layer inputs, ranges fixed after one batch | torch.nn.utils.prune |
| torchao | weights and inputs of Linear layers (no convolutions), per token | same |
| Brevitas | weights and activations, learned scale, after its statistics phase | same |
| PQuantML | weights and activations, fixed point | its own, frozen (fine-tuning stage) |
| qsparse | weights and activations, 8 bits | its own, half of both, anew at every step (default) |

A peer that is not installed, or does not know the layers of a model, is left out and said so.
"""

import os
import sys
from collections.abc import Callable
from importlib.util import find_spec

import torch
from torch import Tensor, nn
from torch.nn.utils import prune

Build = Callable[[nn.Module, Tensor], nn.Module | None]

PEERS: dict[str, Build] = {}


def peer(name: str, module: str) -> Callable[[Build], Build]:
    """Register a peer when its package is installed."""

    def register(build: Build) -> Build:
        if find_spec(module) is None:
            print(
                f"{name} is not installed: no rows for it (pip install 'pareq[bench]')",
                file=sys.stderr,
            )
        else:
            PEERS[name] = build
        return build

    return register


def masked(model: nn.Module) -> nn.Module:
    """80 % of the weights masked by magnitude, ranked together."""
    layers = [(m, "weight") for m in model.modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    prune.global_unstructured(layers, prune.L1Unstructured, amount=0.8)
    return model


def swap(model: nn.Module, make: Callable[[nn.Module], nn.Module | None]) -> nn.Module:
    """Replace modules by what `make` returns for them, with their weights."""
    for name, child in list(model.named_children()):
        new = make(child)
        if new is None:
            swap(child, make)
        else:
            new.load_state_dict(child.state_dict(), strict=False)
            setattr(model, name, new)
    return model


@peer("mask only", "torch")
def mask_only(model: nn.Module, x: Tensor) -> nn.Module:
    return masked(model)


@peer("ModelOpt", "modelopt")
def model_opt(model: nn.Module, x: Tensor) -> nn.Module:
    import modelopt.torch.quantization as mtq

    six = {"num_bits": 6, "axis": None}
    config = {
        "quant_cfg": [
            {"quantizer_name": "*", "enable": False},
            {"quantizer_name": "*weight_quantizer", "cfg": six, "enable": True},
            {"quantizer_name": "*input_quantizer", "cfg": six, "enable": True},
        ],
        "algorithm": "max",
    }
    return masked(mtq.quantize(model, config, lambda m: m(x)))


@peer("torchao", "torchao")
def torch_ao(model: nn.Module, x: Tensor) -> nn.Module | None:
    from torchao.quantization import quantize_
    from torchao.quantization.qat import IntxFakeQuantizeConfig, QATConfig

    if any(isinstance(m, nn.Conv2d) for m in model.modules()):
        return None
    config = QATConfig(
        activation_config=IntxFakeQuantizeConfig(torch.int6, "per_token", is_symmetric=False),
        weight_config=IntxFakeQuantizeConfig(torch.int6, "per_channel"),
        step="prepare",
    )
    quantize_(model, config)
    return masked(model)


@peer("Brevitas", "brevitas")
def brevitas(model: nn.Module, x: Tensor) -> nn.Module:
    import brevitas.nn as qnn

    def make(old: nn.Module) -> nn.Module | None:
        if isinstance(old, nn.Linear):
            return qnn.QuantLinear(old.in_features, old.out_features, bias=True, weight_bit_width=6)
        if isinstance(old, nn.Conv2d):
            shape = (old.in_channels, old.out_channels, old.kernel_size, old.stride, old.padding)
            return qnn.QuantConv2d(*shape, bias=old.bias is not None, weight_bit_width=6)
        if isinstance(old, nn.ReLU):
            return qnn.QuantReLU(bit_width=6, collect_stats_steps=4)
        return None

    return masked(swap(model, make))


@peer("PQuantML", "pquant")
def pquant_ml(model: nn.Module, x: Tensor) -> nn.Module:
    os.environ.setdefault("KERAS_BACKEND", "torch")
    from pquant import add_compression_layers, pdp_config
    from pquant.core.torch.train import post_pretrain_functions, pre_finetune_functions

    config = pdp_config()
    q = config.quantization_parameters
    q.default_weight_fractional_bits = 5.0
    q.default_data_keep_negatives, q.default_data_fractional_bits = 0.0, 6.0
    model = add_compression_layers(model, config, tuple(x.shape))
    post_pretrain_functions(model, config, None, None, input_shape=tuple(x.shape))
    pre_finetune_functions(model)
    return model


@peer("qsparse", "qsparse")
def q_sparse(model: nn.Module, x: Tensor) -> nn.Module | None:
    """Weights and activations pruned and quantized; it takes part in the case `cnn` only."""
    from qsparse import convert, prune, quantize

    if x.ndim != 4 or any(isinstance(m, nn.BatchNorm2d) for m in model.modules()):
        return None
    layers: dict[str, object] = {
        "weight_layers": [nn.Conv2d, nn.Linear],
        "activation_layers": [nn.ReLU],
        "log": False,
    }
    masks = prune(sparsity=0.5, dimensions={0, 1, 2, 3}, start=2, interval=2, repetition=4)
    model = convert(model, masks, **layers)
    return convert(model, quantize(bits=8, channelwise=-1, timeout=2), input=True, **layers)
