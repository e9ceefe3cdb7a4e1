"""Rules and recipes as values."""

import pareq as pq


def test_equal_rules_mean_the_same():
    rule = pq.Rule("*:weight", pq.FixedPoint(6), pq.After(0.5), exclude=["head:*"])
    assert rule == pq.Rule("*:weight", pq.FixedPoint(6), pq.After(0.5), exclude=("head:*",))
    assert hash(rule) == hash(pq.Rule("*:weight", pq.FixedPoint(6), pq.After(0.5), ["head:*"]))
    assert rule != pq.Rule("*:weight", pq.FixedPoint(5), pq.After(0.5), exclude=["head:*"])
    assert rule != pq.Rule("*:weight", pq.MaxAbs(6), pq.After(0.5), exclude=["head:*"])


def test_step_one_is_not_the_end_of_the_run():
    first, last = (pq.Rule("*:weight", pq.FixedPoint(6), pq.After(at)) for at in (1, 1.0))
    assert first != last
