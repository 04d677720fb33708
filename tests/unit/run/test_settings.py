"""What a test leaves open, decided."""

import pytest

from probes.errors import BadInput, UnknownName
from probes.run import settings
from probes.run.settings import Options


def test_threads_are_shared_out_among_workers(monkeypatch):
    monkeypatch.setattr(settings.torch, "get_num_threads", lambda: 8)
    monkeypatch.setenv("PYTEST_XDIST_WORKER_COUNT", "3")

    assert settings.default_threads() == 2
    assert Options(device="cpu").where.threads == 2
    assert Options(device="cpu", threads=5).where.threads == 5


@pytest.mark.parametrize(
    ("asked", "error", "says"),
    [
        ({"images": 0}, BadInput, "images 0: allowed are whole numbers from 1 up"),
        ({"batch_size": 0}, BadInput, "batch-size 0"),
        ({"alpha": 0.5}, BadInput, "alpha 0.5"),
        ({"precision": "fp16"}, UnknownName, "unknown precision 'fp16'"),
        ({"split": "tests"}, UnknownName, "did you mean test"),
    ],
)
def test_options_that_can_not_be_are_refused(asked, error, says):
    with pytest.raises(error, match=says):
        Options(**asked)
