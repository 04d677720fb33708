"""What a child process runs (``ASKED`` comes from ``conftest.py``): ``python ARGV`` with an
environment, a folder and files for its output.
"""

import os
import runpy
import sys

for number, name in ((1, "out"), (2, "err")):
    os.dup2(os.open(ASKED[name], os.O_WRONLY | os.O_APPEND), number)  # noqa: F821
sys.stdout, sys.stderr = open(1, "w", buffering=1), open(2, "w", buffering=1)  # noqa: SIM115
os.environ.clear()
os.environ.update(ASKED["env"])  # noqa: F821
os.chdir(ASKED["cwd"])  # noqa: F821
if ASKED["pixel"]:  # noqa: F821
    from probes.tell import plots

    def save(figure, path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(ASKED["pixel"])  # noqa: F821

    plots.save = save
how, *rest = ASKED["argv"]  # noqa: F821
try:
    if how == "-m":
        import pytest

        assert rest[0] == "pytest", rest
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
