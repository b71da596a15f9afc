"""Common parts of the measurements: stores, gateways, loads, and their cost.

All files are created below target/compare.
"""
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")).resolve()
COMPARE = TARGET / "compare"
RUN = COMPARE / "run"
TOOLS = COMPARE / "build" / "release"
PORTCULLIS = Path(os.environ.get("PORTCULLIS", TARGET / "release" / "portcullis")).resolve()
LISTEN, UPSTREAM = "127.0.0.1:9000", "127.0.0.1:9100"
GATEWAY_CORE, LOAD_CORE = "0", "1"
TICKS = os.sysconf("SC_CLK_TCK")
PLENTY = {"RATE": "1000000", "BURST": "100000"}

# A terminated script terminates the processes that it started.
signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended"))


class Unsupported(Exception):
    """Raised if a gateway reports that it does not support a workload."""


def option(name, default):
    """Returns a variable of the command line, such as `make compare COMPARE_ROUNDS=2`."""
    return os.environ.get(name) or str(default)


def options(name, default):
    return [word for word in option(name, default).replace(",", " ").split()]


def store(keys):
    """Returns a folder with a store of that many callers, and their keys. Creates it once."""
    folder = COMPARE / "stores" / str(keys)
    if not folder.exists():
        print(f"filling a store with {keys:,} keys", flush=True)
        memory = Path("/dev/shm")
        draft = Path(f"{memory if memory.is_dir() else COMPARE}/portcullis-fill-{os.getpid()}")
        try:
            subprocess.run([TARGET / "release" / "fill", draft, str(keys)], check=True)
            shutil.move(draft, folder)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    return folder


def some_keys(folder, name, count):
    """Returns a file with random keys of a store, so that a linear search does not find them early."""
    keys = (folder / f"{name}.txt").read_text().split()
    random.Random(1).shuffle(keys)
    path = RUN / f"{name}-{count}.txt"
    path.write_text("\n".join(keys[:count]) + "\n")
    return path


def family(pid):
    """Returns a process and all of its descendants."""
    children = {}
    for other in filter(str.isdigit, os.listdir("/proc")):
        try:
            parent = Path(f"/proc/{other}/stat").read_text().rsplit(")", 1)[1].split()[1]
        except (OSError, IndexError):
            continue
        children.setdefault(int(parent), []).append(int(other))
    found, ahead = [], [pid]
    while ahead:
        found.append(ahead.pop())
        ahead += children.get(found[-1], [])
    return found


def cpu(pid):
    """Returns the user and system time of a process and its descendants, in seconds."""
    total = 0
    for one in family(pid):
        try:
            fields = Path(f"/proc/{one}/stat").read_text().rsplit(")", 1)[1].split()
            total += int(fields[11]) + int(fields[12])
        except OSError:
            pass
    return total / TICKS


def memory(pid, field="VmHWM"):
    """Returns the peak memory in MiB, or with VmRSS the current one."""
    kib = 0
    for one in family(pid):
        try:
            lines = Path(f"/proc/{one}/status").read_text().splitlines()
            kib += sum(int(line.split()[1]) for line in lines if line.startswith(field))
        except OSError:
            pass
    return round(kib / 1024, 1)


def stolen():
    """Returns the seconds that the hypervisor, if any, gave to other machines (steal time)."""
    return int(Path("/proc/stat").read_text().split(maxsplit=9)[8]) / TICKS


def busy(core):
    """Returns the seconds in which a core was not idle."""
    for line in open("/proc/stat"):
        if line.startswith(f"cpu{core} "):
            fields = [int(field) for field in line.split()[1:9]]
            return (sum(fields) - fields[3] - fields[4]) / TICKS
    raise SystemExit(f"core {core} does not exist: gateway and load need one core each")


def listens(address, process, patience):
    host, port = address.rsplit(":", 1)
    end = time.monotonic() + patience
    while time.monotonic() < end and process.poll() is None:
        try:
            socket.create_connection((host, int(port)), 1).close()
            return True
        except OSError:
            time.sleep(0.02)
    return False


def stop(process, patience=2):
    """Terminates a process that this script started and its descendants, by their ids."""
    started = family(process.pid)
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(patience)
        except subprocess.TimeoutExpired:
            pass
    for pid in started:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    process.wait()


@contextmanager
def upstream(core=LOAD_CORE):
    """Runs the upstream."""
    RUN.mkdir(parents=True, exist_ok=True)
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", int(UPSTREAM.rsplit(":", 1)[1]))) == 0:
            sys.exit(f"another process already listens on {UPSTREAM}")
    process = subprocess.Popen(["taskset", "-c", core, TOOLS / "upstream", UPSTREAM])
    try:
        if not listens(UPSTREAM, process, 5):
            sys.exit("the upstream did not start")
        yield process
    finally:
        stop(process)


@contextmanager
def gateway(peer, keys, *, core=GATEWAY_CORE, patience=120, listen=LISTEN, **variables):
    """Runs a gateway with a store's keys. Variables in capitals are passed to its start script."""
    work = RUN / f"gateway-{listen.rpartition(':')[2]}"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    given = {"LISTEN": listen, "UPSTREAM": UPSTREAM, "PROTOCOL": "h1", "WORKLOAD": "guarded", "CELL": "",
             "KEYS": str(keys / "keys.txt"), "STORE": str(keys), "COMPARE": str(COMPARE),
             "PORTCULLIS": str(PORTCULLIS), **PLENTY, **variables}
    log = work.with_suffix(".log")
    with open(log, "w") as output:
        start = time.monotonic()
        process = subprocess.Popen(["taskset", "-c", core, HERE / "peers" / peer], cwd=work, stdout=output,
                                   stderr=output, stdin=subprocess.DEVNULL, env={**os.environ, **given})
        try:
            if not listens(listen, process, patience):
                last = (log.read_text(errors="replace").strip().splitlines() or ["no output"])[-1]
                if process.poll() == 77:
                    raise Unsupported(last)
                raise RuntimeError(f"did not start: {last[:200]}")
            process.ready = time.monotonic() - start
            process.log, process.work = log, work
            yield process
        finally:
            stop(process)


def load(seconds, *, rate=0, keys=None, protocol="h1", connections=32, body=0, routes=0, source=None,
         requests=0, core=LOAD_CORE):
    """Sends load to LISTEN. Over HTTP/2 an eighth of the connections, with eight streams each."""
    streams = 8 if protocol == "h2" and connections >= 8 else 1
    command = ["taskset", "-c", core, TOOLS / "load", "--to", LISTEN, "--seconds", seconds, "--rate", rate,
               "--protocol", protocol, "--connections", connections // streams, "--streams", streams,
               "--body", body, "--routes", routes]
    command += ["--keys", keys] if keys else []
    command += ["--requests", requests] if requests else []
    command += ["--from", source] if source else []
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=seconds + 30)
    if done.returncode:
        raise RuntimeError(f"load: {done.stderr.strip()[-200:]}")
    return json.loads(done.stdout)


def measured(process, run):
    """Returns the results of a load, and its cost."""
    before, other, start = cpu(process.pid), busy(GATEWAY_CORE), time.monotonic()
    result = run()
    spent, wall = cpu(process.pid) - before, time.monotonic() - start
    result["cpu_per_million"] = round(spent / max(result["requests"], 1) * 1e6, 2)
    result["gateway_busy"] = round(100 * spent / wall, 1)
    # Share of the gateway's core that other processes used. If it is large, throughput and latency are not valid.
    result["others_busy"] = round(100 * (busy(GATEWAY_CORE) - other - spent) / wall, 1)
    return result


def share(result, status):
    """Returns the percentage of the requests with this response status."""
    wanted = result["statuses"].get(str(status), 0)
    return round(100 * wanted / max(sum(result["statuses"].values()) + result["errors"], 1), 2)


def write(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=1) + "\n")
