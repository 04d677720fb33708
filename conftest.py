"""Next to nothing to configure: the plugin comes with the installation (entry point
``probes.plugin``).
"""

import os

pytest_plugins = [
    "pytester",
    "probes.fixtures",
]  # the plugin's own tests run pytest in pytest; the plain fixtures are asked for
if (
    "PYTEST_XDIST_WORKER" in os.environ
):  # before torch is there: workers whose threads wait for each other take ten times as long
    os.environ.setdefault("OMP_NUM_THREADS", "1")
