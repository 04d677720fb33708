import os
import signal
import threading

import pytest

from probes import cli
from probes.stopping import Terminated, terminable


def terminate(*_):
    os.kill(os.getpid(), signal.SIGTERM)


def test_sigterm_ends_a_block_as_ctrl_c_does_and_the_handler_is_as_before():
    with pytest.raises(KeyboardInterrupt), terminable():
        terminate()
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_a_handler_of_somebody_else_stays(monkeypatch):
    seen = []
    before = signal.signal(signal.SIGTERM, lambda *_: seen.append(1))
    try:
        with terminable():
            terminate()
    finally:
        signal.signal(signal.SIGTERM, before)
    assert seen == [1]


def test_another_thread_changes_no_handler():
    found = []

    def inside():
        with terminable():
            found.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=inside)
    thread.start()
    thread.join()
    assert found == [signal.SIG_DFL]


def test_a_terminated_command_says_how_it_goes_on_and_ends_with_143(capsys, monkeypatch):
    monkeypatch.setattr(cli.listing, "show", terminate)

    assert cli.main(["list"]) == 143
    assert capsys.readouterr().err.splitlines()[-2:] == [
        "probes: terminated; what is done is kept, and the same command goes on from here:",
        "  probes list",
    ]
    assert issubclass(Terminated, KeyboardInterrupt)
