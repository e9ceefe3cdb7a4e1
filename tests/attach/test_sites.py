"""Which tensors a pattern names, and one clear line when it names none."""

import pytest
import torch
from torch import nn

import pareq as pq
from pareq.errors import PareqError
from tests.attach.networks import Attention, Recurrent, Residual, Tied, mlp


def sites(model, where, exclude=()):
    rule = pq.Rule(where, pq.FixedPoint(4), exclude=exclude)
    return [s.name for s in pq.attach(model, pq.Recipe(rule)).sites]


@pytest.mark.parametrize(
    ("make", "where", "exclude", "expected"),
    [
        (mlp, "*:weight", (), ["0:weight", "3:weight", "5:weight"]),
        (mlp, "*:weight", ("0:*",), ["3:weight", "5:weight"]),
        (mlp, "*@BatchNorm1d:weight", (), ["1:weight"]),
        (mlp, "1:weight", (), ["1:weight"]),
        (mlp, "*:output", (), ["2:output", "4:output"]),
        (mlp, "*@ReLU|Linear:output", ("5:output",), ["0:output", "2:output", "3:output", "4:output"]),
        (mlp, "*:input", (), ["0:input", "3:input", "5:input"]),
        (mlp, "*:bias", (), ["0:bias", "3:bias", "5:bias"]),
        (Residual, "relu?:output", (), ["relu1:output", "relu2:output"]),
        (Residual, "*@Conv*:weight", (), ["stem:weight", "conv:weight"]),
        (Residual, ":output", (), [":output"]),
        (Recurrent, "lstm:weight_hh_*", (), ["lstm:weight_hh_l0", "lstm:weight_hh_l1"]),
        (Recurrent, "lstm:output", (), ["lstm:output"]),
        (Attention, "*:weight", (), ["mha:in_proj_weight", "mha.out_proj:weight", "head:weight"]),
        (Attention, "*:input", (), ["mha:input", "head:input"]),
        (Attention, "mha:output", (), ["mha:output"]),
    ],
)  # fmt: skip
def test_patterns(make, where, exclude, expected):
    assert sites(make(), where, exclude) == expected


def test_a_subclass_answers_to_the_name_of_its_base():
    class MyLinear(nn.Linear):
        pass

    assert sites(nn.Sequential(MyLinear(2, 2)), "*@Linear:weight") == ["0:weight"]


@pytest.mark.parametrize(
    ("make", "rules", "line"),
    [
        (
            mlp,
            [("fc1:weight",)],
            "rule 1: 'fc1:weight' matches nothing in the model; the nearest site is '1:weight'",
        ),
        (
            mlp,
            [("*:wieght",)],
            "rule 1: '*:wieght' matches nothing in the model; did you mean the tensor 'weight'?",
        ),
        (
            mlp,
            [("*@Linaer:weight",)],
            "rule 1: '*@Linaer:weight' matches nothing in the model; did you mean the type 'Linear'?",
        ),
        (
            mlp,
            [("*:weight", ("9:weight",))],
            "rule 1: exclude '9:weight' matches nothing; the nearest site is '5:weight'",
        ),
        (
            mlp,
            [("0:weight", ("*:weight",))],
            "rule 1: '0:weight' matches 1 sites, and exclude leaves out all of them",
        ),
        (
            mlp,
            [("*:weight",), ("3:weight",)],
            "3:weight would be quantized twice, by rule 1 (*:weight) and rule 2 (3:weight); exclude it from one",
        ),
        (
            Tied,
            [("encoder:weight",)],
            "rule 1: encoder:weight and decoder:weight are one tied tensor, but the rule covers only the first; widen its pattern, or exclude both",
        ),
        (
            Attention,
            [("mha.out_proj:output",)],
            "mha.out_proj:output: MultiheadAttention reads the weights of this layer and never calls it; name the attention's own output, or exclude this one",
        ),
        (
            mlp,
            [("no colon",)],
            "cannot read 'no colon'; expected 'PATH:TENSOR' or 'PATH@TYPE:TENSOR', such as '*:weight' or 'block1.*@ReLU:output'",
        ),
    ],
)
def test_what_cannot_be_meant(make, rules, line):
    with pytest.raises(PareqError) as error:
        pq.attach(
            make(),
            pq.Recipe(
                *[
                    pq.Rule(r[0], pq.FixedPoint(4), exclude=r[1] if len(r) > 1 else ())
                    for r in rules
                ]
            ),
        )
    assert str(error.value) == line


def test_pruned_twice_and_attached_twice():
    prune = [pq.Rule("*:weight", pq.Prune(), pq.After(0, to=0.5))] * 2
    with pytest.raises(PareqError) as error:
        pq.attach(mlp(), pq.Recipe(*prune))
    assert str(error.value) == (
        "0:weight would be pruned twice, by rule 1 (*:weight) and rule 2 (*:weight); exclude it from one"
    )
    model = mlp()
    pq.attach(model, pq.Recipe(prune[0]))
    with pytest.raises(PareqError) as error:
        pq.attach(model, pq.Recipe(prune[0]))
    assert str(error.value) == "the model already carries operators; call detach() first"


def test_a_refused_recipe_leaves_the_model_alone():
    model = mlp()
    keys = list(model.state_dict())
    rules = [
        pq.Rule("*:weight", pq.FixedPoint(4)),
        pq.Rule("*:output", pq.FixedPoint(4, per_channel=True)),
    ]
    with pytest.raises(PareqError) as error:
        pq.attach(model, pq.Recipe(*rules))
    assert str(error.value) == (
        "rule 2 (2:output): per_channel needs the shape of the activation; give attach an example input"
    )
    assert list(model.state_dict()) == keys
    pq.attach(model, pq.Recipe(rules[0]))


def test_outputs_that_are_no_tensors():
    class Both(nn.Module):
        def forward(self, x):
            return {"a": x}

    model = Both()
    net = pq.attach(model, pq.Recipe(pq.Rule(":output", pq.FixedPoint(4, frac=1))))
    net.set_step(0)
    with pytest.raises(PareqError) as error:
        model(torch.ones(1))
    assert str(error.value) == (
        ":output: the module returns dict, expected a tensor or a tuple that starts with one; "
        "name a module inside it"
    )
