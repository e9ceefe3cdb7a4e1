import sys
from urllib.error import URLError

import numpy as np
import pytest
import sklearn.datasets
from sklearn.utils import Bunch

from pareq.errors import DataError, MissingExtra
from pareq.tasks.jets.features import CLASSES, FEATURES
from pareq.tasks.jets.openml import fetch_openml_table
from tests.tasks.tables import rows


def test_the_table_as_scikit_learn_gives_it(monkeypatch, tmp_path):
    x, y = rows()
    asked = {}

    def given(**options):
        asked.update(options)
        names = np.array(CLASSES, object)[y]
        return Bunch(data=x, target=names, feature_names=list(FEATURES))

    monkeypatch.setattr(sklearn.datasets, "fetch_openml", given)
    table = fetch_openml_table(tmp_path)
    assert np.array_equal(table.x, x)
    assert np.array_equal(table.y, y)
    assert table.name == "OpenML 42468"
    assert asked["data_id"] == 42468
    assert asked["data_home"] == tmp_path
    assert asked["as_frame"] is False


def test_offline_says_what_to_do(monkeypatch, tmp_path):
    def offline(**options):
        raise URLError("no route\nto host")

    monkeypatch.setattr(sklearn.datasets, "fetch_openml", offline)
    with pytest.raises(DataError) as caught:
        fetch_openml_table(tmp_path)
    assert str(caught.value) == (
        "OpenML 42468 could not be fetched (no route to host); on another machine download the"
        " ARFF or parquet file of https://www.openml.org/d/42468 and name it with the option data"
        " or PAREQ_DATA"
    )


def test_without_scikit_learn_the_extra_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(MissingExtra, match=r"pip install 'pareq\[tasks\]'"):
        fetch_openml_table(tmp_path)
