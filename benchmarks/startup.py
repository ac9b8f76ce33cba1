"""How soon is hello world ready, and how much memory does it hold while it idles?

Ready: from the start of the interpreter until ``GET /health/ready`` answers 200, on the embedded default, in an empty
folder. Memory: the resident set two seconds later.

    python benchmarks/startup.py [--rounds 5]
"""

import argparse
import http.client
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HELLO_WORLD = Path(__file__).parent.parent / "examples" / "hello_world.py"
SETTLE_SECONDS = 2.0
MOST_SECONDS = 30.0


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def is_ready(port: int) -> bool:
    """Ask the service once."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1.0)
    try:
        connection.request("GET", "/health/ready")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def resident_mebibytes(pid: int) -> float:
    """Return the resident set of a process."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def measure() -> tuple[float, float]:
    """Return the seconds until ready and the mebibytes when idle."""
    with tempfile.TemporaryDirectory() as folder:
        port = free_port()
        began = time.perf_counter()
        argv = [sys.executable, str(HELLO_WORLD), "--port", str(port), "--log-level", "warning"]
        service = subprocess.Popen(argv, cwd=folder)
        try:
            while not is_ready(port):
                if service.poll() is not None or time.perf_counter() - began > MOST_SECONDS:
                    raise SystemExit("hello world did not become ready")
                time.sleep(0.005)
            ready = time.perf_counter() - began
            time.sleep(SETTLE_SECONDS)
            return ready, resident_mebibytes(service.pid)
        finally:
            service.terminate()
            service.wait()


def main() -> None:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = [measure() for _ in range(parser.parse_args().rounds)]
    print(f"ready after {statistics.median(ready for ready, _ in rounds):.2f} s")
    print(f"resident when idle {statistics.median(resident for _, resident in rounds):.0f} MiB")


if __name__ == "__main__":
    main()
