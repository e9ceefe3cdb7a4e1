"""What the tests of the commands share."""

import pytest

from pareq.cli import main


@pytest.fixture
def pareq_says(capsys):
    """Run a command that must succeed; what it printed."""

    def run(*words: str) -> str:
        with pytest.raises(SystemExit) as ended:
            main(words)
        said = capsys.readouterr()
        assert (ended.value.code, said.err) == (0, "")
        return said.out

    return run
