"""OpenML 42468, `hls4ml_lhc_jets_hlf`: 830,000 jets, fetched through scikit-learn."""

from importlib.util import find_spec
from pathlib import Path
from urllib.error import URLError

from pareq.errors import DataError, MissingExtra
from pareq.tasks.jets.columns import table_from_columns
from pareq.tasks.table import Table

__all__ = ["fetch_openml_table"]

NUMBER = 42468


def fetch_openml_table(cache: Path) -> Table:
    """The public table, kept in `cache` after the first call.

    Raises DataError when offline, naming the file and how to use it, and MissingExtra.
    """
    try:
        from sklearn.datasets import fetch_openml
    except ImportError:
        raise MissingExtra("scikit-learn", "tasks") from None
    try:
        bunch = fetch_openml(
            data_id=NUMBER,
            as_frame=False,
            data_home=cache,
            parser="pandas" if find_spec("pandas") else "liac-arff",
        )
    except (URLError, OSError, ValueError) as error:
        reason = " ".join(str(getattr(error, "reason", error)).split())
        raise DataError(
            f"OpenML {NUMBER} could not be fetched ({reason}); on another machine download the ARFF"
            f" or parquet file of https://www.openml.org/d/{NUMBER} and name it with the option"
            " data or PAREQ_DATA"
        ) from None
    columns = dict(zip(bunch.feature_names, bunch.data.T, strict=True))
    return table_from_columns({**columns, "class": bunch.target}, f"OpenML {NUMBER}")
