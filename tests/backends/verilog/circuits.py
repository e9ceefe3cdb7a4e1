"""What a circuit computes, node by node, in numpy: a second reading of the table of kinds."""

import numpy as np


def looked_up(detail, *operands):
    """The entry at all bits, those of the first operand lowest."""
    index, low = 0, 0
    for width, n in zip(detail, operands, strict=False):
        index, low = index + ((n & ((1 << width) - 1)) << low), low + width
    return np.array(detail[len(operands) :], dtype=np.int64)[index]


RULES = {
    "function": looked_up,
    "sum": lambda d, a, b: (a << d[0]) - (b << d[1]) if d[2] else (a << d[0]) + (b << d[1]),
    "left": lambda d, a: a << d[0],
    "right": lambda d, a: a >> d[0],
    "invert": lambda d, a: -1 - a,
    "even": lambda d, a: (a >> d[0]) & ~np.where(a & ((1 << d[0]) - 1), 0, 1),
    "clamp": lambda d, a: np.clip(a, *d),
    "above": lambda d, a: (a >= d[0]).astype(np.int64),
    "ahead": lambda d, a, b: (a >= b).astype(np.int64),
    "select": lambda d, c, a, b: np.where(c != 0, a, b),
    "product": lambda d, a, b: a * b,
    "table": lambda d, a: np.array(d[1:], dtype=np.int64)[a - d[0]],
}


def values(circuit, arrays):
    """The integers of every node for inputs `(N, *shape)`; each is checked against its range."""
    flat = [each.reshape(len(each), -1) for each in arrays]
    found = []
    for node in circuit.nodes:
        if node.kind == "input":
            port, index = node.detail
            n = flat[port][:, index]
        elif node.kind == "constant":
            n = np.full(len(flat[0]), node.detail[0])
        else:
            n = RULES[node.kind](node.detail, *(found[each] for each in node.operands))
        assert n.min() >= node.lo, node
        assert n.max() <= node.hi, node
        found.append(n)
    return found


def results(circuit, outputs, arrays):
    """The outputs of a circuit as arrays `(N, *shape)`."""
    found = values(circuit, arrays)
    return [
        np.stack([found[n] for n in nodes.ravel()], axis=1).reshape(len(arrays[0]), *nodes.shape)
        for nodes in outputs
    ]
