"""What a refused command is: one line, a status, nothing else."""

import shlex

import pytest

from pareq.cli import main


def refused(capsys, command: str, line: str, status: int = 2) -> None:
    """The command ends with this status and says this line, and nothing else."""
    with pytest.raises(SystemExit) as ended:
        main(shlex.split(command))
    said = capsys.readouterr()
    assert said.err == f"error: {line}\n"
    assert ended.value.code == status
