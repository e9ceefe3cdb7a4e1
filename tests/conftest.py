"""One thread and one seed for every test."""

import signal

import pytest
import torch

torch.set_num_threads(1)

# What a shell starts in its background ignores Ctrl-C, which some tests press.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)
