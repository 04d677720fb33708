"""What a child process runs (``ASKED`` comes from ``conftest.py``): ``python ARGV`` with an
environment, a folder and files for its output.
"""

import os
import runpy
import sys
import traceback

for number, name in ((1, "out"), (2, "err")):
    os.dup2(os.open(ASKED[name], os.O_WRONLY | os.O_APPEND), number)  # noqa: F821
sys.stdout, sys.stderr = open(1, "w", buffering=1), open(2, "w", buffering=1)  # noqa: SIM115
os.environ.clear()
os.environ.update(ASKED["env"])  # noqa: F821
os.chdir(ASKED["cwd"])  # noqa: F821
if ASKED["pixel"]:  # noqa: F821
    from probes.tell import plots

    def save(figure, path, *rest):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(ASKED["pixel"])  # noqa: F821

    plots.write_png = save
how, *rest = ASKED["argv"]  # noqa: F821


class Forked:
    """A worker of pytest-xdist that is forked from this process and waits for what execnet says to
    an interpreter that it has started; with what execnet asks of a ``subprocess.Popen``.
    """

    def __init__(self, before):
        (heard, self.stdin), (self.stdout, said) = (
            [open(end, mode + "b", 0) for end, mode in zip(os.pipe(), "rw", strict=True)]  # noqa: SIM115
            for _ in range(2)
        )
        self.pid = os.fork()
        if self.pid:
            heard.close(), said.close()
            return
        try:
            os.dup2(heard.fileno(), 0), os.dup2(said.fileno(), 1)
            for one in (self, *before):  # each pipe has one end here and one there
                one.stdin.close(), one.stdout.close()
            sys.stdin = open(0)  # noqa: SIM115
            if line := sys.stdin.readline():
                exec(eval(line), {"__name__": "__main__"})
        except BaseException:  # noqa: BLE001
            traceback.print_exc()
            os._exit(1)
        os._exit(0)

    def wait(self):
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def kill(self):
        os.kill(self.pid, 9)


def fork_workers(count):
    """Fork the workers of pytest-xdist now, while nothing runs here: they have loaded what this
    process has.
    """
    from execnet import gateway_io

    waiting = []
    for _ in range(count):
        waiting.append(Forked(waiting))

    class Master(gateway_io.Popen2IOMaster):
        def __init__(self, args, execmodel):
            self.popen = waiting.pop(0)
            gateway_io.Popen2IO.__init__(
                self, self.popen.stdin, self.popen.stdout, execmodel=execmodel
            )

    gateway_io.Popen2IOMaster = Master


try:
    if how == "-m":
        import pytest

        assert rest[0] == "pytest", rest
        if "-n" in rest:
            fork_workers(int(rest[rest.index("-n") + 1]))
        sys.argv, sys.path[:0] = rest, [""]
        sys.exit(int(pytest.main(rest[1:])))
    elif how == "-c":
        sys.argv, sys.path[:0] = ["-c", *rest[1:]], [""]
        exec(rest[0], {"__name__": "__main__"})
    else:
        sys.argv = [how, *rest]
        sys.path.insert(0, os.path.dirname(how))
        runpy.run_path(how, run_name="__main__")
finally:
    sys.stdout.flush()
    sys.stderr.flush()
