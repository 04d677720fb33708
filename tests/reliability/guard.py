"""What a reader may do with bytes from outside: read them or refuse them, in a second, in 500 MB,
and nothing else.
"""

import contextlib
import os
import resource
import signal
import sys

from probes.errors import ProbesError

SECONDS = 1.0
"""Of processor time, so that a busy machine is no fault of a reader."""
WAITING = 20.0
"""Of the clock: nothing sleeps, or waits for somebody."""
MEGABYTES = 500
RUNS = ("os.system", "os.exec", "os.posix_spawn", "os.fork", "subprocess.Popen", "socket.connect")


class Broken(BaseException):
    """A rule that was broken; no ``except Exception`` swallows it."""


class Guard:
    """Watches this process from :meth:`arm` on. It can't be taken off: use it in a child."""

    def __init__(self, scratch):
        self.scratch, self.on, self.broken = os.path.realpath(scratch), False, None
        signal.signal(signal.SIGALRM, self._late)
        signal.signal(signal.SIGPROF, self._late)

    def arm(self):
        sys.addaudithook(self._seen)
        with open("/proc/self/statm") as size:
            now = int(size.read().split()[0]) * resource.getpagesize()
        limit = now + MEGABYTES * 2**20
        resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
        return self

    def _late(self, number, _):
        late = number == signal.SIGPROF
        raise Broken(f"takes longer than {SECONDS:g} s" if late else f"waits for {WAITING:g} s")

    def _seen(self, event, args):
        if not self.on:
            return
        if event == "subprocess.Popen" and args[0] == "git":
            return  # asked how old a report is, in words of ours
        if event.startswith(RUNS):
            self._break(f"{event} {str(args)[:60]}")
        elif event == "open":
            path, mode, flags = args
            writes = isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
            writes = writes or (isinstance(mode, str) and set(mode) & set("wax+"))
            if writes and isinstance(path, str | bytes):
                there = os.path.realpath(os.fsdecode(path))
                if not there.startswith(self.scratch) and there != os.devnull:
                    self._break(f"writes {there}")

    def _break(self, what):
        self.broken = what
        raise Broken(what)

    @contextlib.contextmanager
    def watching(self):
        self.on, self.broken = True, None
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        signal.setitimer(signal.ITIMER_REAL, WAITING)
        try:
            yield
        finally:
            self.on = False
            signal.setitimer(signal.ITIMER_PROF, 0)
            signal.setitimer(signal.ITIMER_REAL, 0)

    def tried(self, read, *given):
        """ "read", "refused", or in words what is wrong."""
        try:
            with self.watching():
                read(*given)
            found = "read"
        except ProbesError as e:
            found = "refused" if str(e).strip() else "an error without a word"
        except SystemExit as e:
            found = "refused" if e.code in (2, 3) else f"SystemExit {e.code}"  # documented
        except Broken as e:
            found = str(e)
        except MemoryError:
            found = f"takes more than {MEGABYTES} MB"
        except BaseException as e:  # noqa: BLE001 - what must not come
            trace, place = e.__traceback__, "?"
            while trace:
                name = trace.tb_frame.f_code.co_filename
                if "/probes/" in name and "/tests/" not in name:
                    place = f"{name.split('/probes/')[-1]}:{trace.tb_lineno}"
                trace = trace.tb_next
            found = f"{type(e).__name__} at {place}: {str(e)[:80]}"
        return f"{self.broken}" if self.broken else found
