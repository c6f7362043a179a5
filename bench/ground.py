#!/usr/bin/env python3
"""Attacks at full size on what a cluster depends on (disk, device, clock, memory), under `./atelier up`.

    bench/ground.py disk            a full disk of 64 MB (needs root, for a tmpfs)
    bench/ground.py hang            a silo that is stopped with SIGSTOP
    bench/ground.py broken          a disk whose flush fails, or hangs, and a device whose memory fails
    bench/ground.py clock [SILOS [while|between]]
                                    the wall clock set by minutes to days, while the cluster runs and between runs
    bench/ground.py store [MB]      states of 55 KB through the API at 5 MB/s, then kill -9 (4,000 MB by default)
    bench/ground.py soak [FOLDER]   45 minutes without kills, then 30 with a kill every 2 minutes; resumes if run again
    bench/ground.py curves FOLDER   the measurements of a soak: slopes with their standard errors

Each attack prints its results and exits with 1 if a promise was broken. Needs only Python's standard library; `broken`
and `clock` also need a C compiler.
"""
import contextlib, csv, glob, http.client, json, os, random, shutil, signal, socket, sqlite3, struct, subprocess, sys
import tempfile, threading, time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BROKEN = []


def say(*words):
    print(f"{time.monotonic() - START:7.1f}", *words, flush=True)


def check(promise, kept):
    say("kept:" if kept else "BROKEN:", promise)
    if not kept:
        BROKEN.append(promise)


def request(port, method, path, body=None, key=None, timeout=30, headers=()):
    """Status and body of a response; the status is 0 if there was none."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    headers = {**dict(headers), **({"Authorization": "Bearer " + key} if key else {})}
    if body is not None:
        body, headers["Content-Type"] = json.dumps(body).encode(), "application/json"
    try:
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
    except (OSError, http.client.HTTPException):
        return 0, b""
    finally:
        connection.close()


class Cluster:
    """A cluster under `atelier up` of a checkout, with a client for it."""

    def __init__(self, folder, silos=1, environment=None, port=0, options=(), root=ROOT):
        self.folder, self.silos, self.options, self.root = folder, silos, list(options), root
        self.environment = {**os.environ, "ATELIER_HOME": root, **(environment or {})}
        self.port = port or free_port()
        self.up = None

    def start(self):
        program = os.path.join(self.root, "artifacts", "cpu", "bin", "Cli", "release", "Atelier.Cli.dll")
        log = open(self.folder + ".log", "ab")
        started = time.monotonic()
        self.up = subprocess.Popen(
            [
                "dotnet", program, "up", "--data", self.folder, "--port", str(self.port), "--silos", str(self.silos),
                *self.options],
            stdout=subprocess.PIPE, stderr=log, env=self.environment, start_new_session=True)
        for line in self.up.stdout:
            log.write(line)
            if b"Ctrl-C" in line:
                break
        else:
            raise SystemExit(f"the cluster did not come up; see {self.folder}.log")
        threading.Thread(target=lambda: [log.write(line) for line in self.up.stdout], daemon=True).start()
        file = json.load(open(os.path.join(self.folder, "cluster.json")))
        self.key, self.admin, self.ports = file["key"], file["adminKey"], file["silos"]
        self.metrics_port = file["metricsPort"]
        return time.monotonic() - started

    def stop(self):
        if self.up and self.up.poll() is None:
            self.up.send_signal(signal.SIGTERM)
            self.up.wait(60)

    def kill(self):
        for process in self.children("") + [self.up.pid]:
            try:
                os.kill(process, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self.up.wait(60)

    def children(self, name):
        """Process ids of the cluster's children whose program has this name, oldest first."""
        found = []
        for process in subprocess.run(["pgrep", "-P", str(self.up.pid)], capture_output=True, text=True).stdout.split():
            try:
                if f"Atelier.{name}" in open(f"/proc/{process}/cmdline").read():
                    found.append(int(process))
            except OSError:
                pass
        return sorted(found)

    def call(self, method, path, body=None, key=None, timeout=60, port=None):
        """Returns status and body of the response; the status is 0 if there was none."""
        return request(port or self.port, method, path, body, key or self.key, timeout)

    def tenant(self, name, **settings):
        """Creates a tenant and returns a key of it."""
        status, _ = self.call("PUT", f"/v1/admin/tenants/{name}", settings, self.admin)
        assert status == 200, status
        return json.loads(
            self.call("POST", f"/v1/admin/tenants/{name}/keys", {"label": "attack"}, self.admin)[1])["key"]

    def view(self, generation, key=None):
        status, body = self.call("GET", f"/v1/generations/{generation}", key=key)
        return (json.loads(body) if status == 200 else {"phase": None}), status

    def draw(self, generation, steps=2, patience=60, key=None, seen=None):
        """Draws a picture, retrying while the cluster does not answer. Returns the seconds it took; None on timeout."""
        start = time.monotonic()
        accepted = False
        while time.monotonic() - start < patience:
            if not accepted:
                status, body = self.call(
                    "POST", "/v1/generations", {"id": generation, "prompt": "a red star", "steps": steps}, key)
                accepted = status == 202
            else:
                view, status = self.view(generation, key)
                if view["phase"] == "done":
                    return time.monotonic() - start
                body = b""
            if seen is not None:
                seen[status] = seen.get(status, 0) + 1
                if status in (400, 401, 404, 410, 500):
                    say(f"   {status} {body[:160]}")
            time.sleep(0.1)
        return None


def free_port():
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return server.getsockname()[1]


def status_of(process, name):
    try:
        for line in open(f"/proc/{process}/status"):
            if line.startswith(name + ":"):
                return int(line.split()[1])
    except OSError:
        pass
    return 0


def disk():
    folder = tempfile.mkdtemp()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", folder], check=True)
    cluster = Cluster(os.path.join(folder, "data"))
    try:
        cluster.start()
        key = cluster.tenant("full")
        done = [f"done-{i}" for i in range(20)]
        for generation in done:
            assert cluster.draw(generation, steps=1, key=key) is not None
        still = [f"open-{i}" for i in range(6)]
        for generation in still:
            assert cluster.call(
                "POST", "/v1/generations", {"id": generation, "prompt": "x", "steps": 300}, key)[0] == 202
        filler = open(os.path.join(folder, "filler"), "wb", buffering=0)
        for size in (65536, 512, 1):
            try:
                while True:
                    filler.write(b"\0" * size)
            except OSError:
                pass
        writes = [
            ("POST", "/v1/sessions", {"id": "s"}, key), (
                "POST", "/v1/generations", {"id": "n", "prompt": "x", "steps": 1}, key),
            ("POST", "/v1/images/generations", {"prompt": "x"}, key), (
                "POST", "/v1/generations/open-5/cancel", {}, key),
            ("DELETE", "/v1/generations/done-19", None, key), ("PUT", "/v1/admin/tenants/other", {}, cluster.admin)]
        slowest = 0
        for method, path, body, who in writes * 2:
            start = time.monotonic()
            status, text = cluster.call(method, path, body, who)
            slowest = max(slowest, time.monotonic() - start)
            check(
                f"{method} {path} is rejected: {status} {json.loads(text)['error']['code'] if text else ''}",
                status == 503)
        check(f"every write is rejected within 2 s: {slowest:.2f} s", slowest <= 2)
        check(
            "reads continue",
            all(cluster.call("GET", f"/v1/generations/{g}/picture", key=key)[0] == 200 for g in done))
        [silo] = cluster.children("Silo")
        os.kill(silo, signal.SIGKILL)
        killed = time.monotonic()
        while cluster.call(
                "GET", "/v1/generations/done-0/picture", key=key)[0] != 200 and time.monotonic() - killed < 60:
            time.sleep(0.1)
        check(
            f"a silo that is killed meanwhile serves reads again: {time.monotonic() - killed:.1f} s",
            time.monotonic() - killed < 30)
        filler.close()
        os.remove(os.path.join(folder, "filler"))
        room = time.monotonic()
        while cluster.call("POST", "/v1/generations", {"id": "after", "prompt": "x", "steps": 1}, key)[0] != 202:
            time.sleep(0.1)
        check(f"writes are accepted again within 10 s: {time.monotonic() - room:.1f} s", time.monotonic() - room <= 10)
        check(
            "pictures are kept",
            all(cluster.call("GET", f"/v1/generations/{g}/picture", key=key)[0] == 200 for g in done))
        check("the rejected generation does not exist", cluster.view("n", key)[1] == 404)
        for generation in still:
            while cluster.view(generation, key)[0]["phase"] != "done":
                time.sleep(0.5)
        check("the open generations are done", True)
    finally:
        cluster.stop()
        subprocess.run(["umount", folder])


def hang():
    replaced_while("a silo that is stopped", lambda silo: os.kill(silo, signal.SIGSTOP))


def broken():
    shim = Shim()
    for place, what in (
            (1, "a disk that fails to flush"), (2, "a disk whose flush hangs"), (3, "a device whose memory fails")):
        replaced_while(what, lambda _: shim.put(place, 1), lambda: shim.put(place, 0), shim.environment)


def replaced_while(what, strike, heal=lambda: None, environment=None):
    """Breaks a silo that draws. Checks how soon it is reported as not ready, is replaced and serves again, and that
    nothing is lost."""
    cluster = Cluster(tempfile.mkdtemp() + "/data", environment=environment)
    cluster.start()
    try:
        assert cluster.draw("done") is not None
        picture = cluster.call("GET", "/v1/generations/done/picture")
        opened = [f"g{i}" for i in range(5)]
        for generation in opened:
            assert cluster.call("POST", "/v1/generations", {"id": generation, "prompt": "x", "steps": 200})[0] == 202
        time.sleep(1)
        [silo] = cluster.children("Silo")
        strike(silo)
        start, unready, replaced, serving = time.monotonic(), None, None, None
        while serving is None and time.monotonic() - start < 90:
            ready = cluster.call("GET", "/health/ready", timeout=5)[0]
            unready = unready or (time.monotonic() - start if ready != 200 else None)
            if replaced is None and cluster.children("Silo") not in ([silo], []):
                replaced = time.monotonic() - start
                heal()
            if replaced and unready and ready == 200:
                serving = time.monotonic() - start
            time.sleep(0.05)
        heal()
        check(f"{what}: not ready within 3 s: {shown(unready)}", unready is not None and unready <= 3)
        check(
            f"{what}: replaced within 20 s: {shown(replaced)}; serving after {shown(serving)}", replaced is not None
            and replaced <= 20)
        patience = time.monotonic() + 180
        while any(cluster.view(g)[0]["phase"] not in ("done", "failed") for g in opened) and time.monotonic(
                ) < patience:
            time.sleep(0.5)
        phases = [cluster.view(g)[0]["phase"] for g in opened]
        check(f"{what}: nothing is lost: {phases}", phases == ["done"] * 5)
        check(
            f"{what}: the earlier picture is still served", picture[0] == 200
            and picture == cluster.call("GET", "/v1/generations/done/picture"))
    finally:
        cluster.stop()


def shown(time):
    return "never" if time is None else f"{time:.1f} s"


SHIM = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
/* A file of four numbers, shared by all processes: seconds to add to the wall clock (monotonic clocks are left alone);
   whether flushes to disk fail; whether they hang; whether allocating aligned memory, which tensors use, fails. */
static volatile int64_t none[4], *faults = none;
static int (*next_gettime)(clockid_t, struct timespec *);
static int (*next_fsync)(int), (*next_fdatasync)(int);
static int (*next_memalign)(void **, size_t, size_t);
__attribute__((constructor)) static void start(void) {
    next_gettime = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    next_fsync = (int (*)(int))dlsym(RTLD_NEXT, "fsync");
    next_fdatasync = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
    next_memalign = (int (*)(void **, size_t, size_t))dlsym(RTLD_NEXT, "posix_memalign");
    const char *path = getenv("FAULTS");
    int file = path ? open(path, O_RDONLY) : -1;
    if (file >= 0) {
        void *page = mmap(0, sizeof none, PROT_READ, MAP_SHARED, file, 0);
        if (page != MAP_FAILED) faults = page;
        close(file);
    }
}
int clock_gettime(clockid_t clock, struct timespec *time) {
    if (!next_gettime) start();
    int result = next_gettime(clock, time);
    if (result == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) time->tv_sec += faults[0];
    return result;
}
int gettimeofday(struct timeval *restrict time, void *restrict zone) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    time->tv_sec = now.tv_sec;
    time->tv_usec = now.tv_nsec / 1000;
    return 0;
}
time_t time(time_t *result) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (result) *result = now.tv_sec;
    return now.tv_sec;
}
static int flush(int file, int (*next)(int)) {
    while (faults[2]) usleep(10000);
    if (faults[1]) {
        errno = EIO;
        return -1;
    }
    return next(file);
}
int fsync(int file) {
    if (!next_fsync) start();
    return flush(file, next_fsync);
}
int fdatasync(int file) {
    if (!next_fdatasync) start();
    return flush(file, next_fdatasync);
}
int posix_memalign(void **memory, size_t alignment, size_t size) {
    if (!next_memalign) start();
    return faults[3] ? ENOMEM : next_memalign(memory, alignment, size);
}
"""


class Shim:
    """Faults injected into the processes' C library."""

    def __init__(self):
        folder = tempfile.mkdtemp()
        with open(folder + "/shim.c", "w") as file:
            file.write(SHIM)
        subprocess.run(["cc", "-shared", "-fPIC", folder + "/shim.c", "-o", folder + "/shim.so", "-ldl"], check=True)
        self.file = folder + "/faults"
        with open(self.file, "wb") as file:
            file.write(bytes(4096))
        self.environment = {"LD_PRELOAD": folder + "/shim.so", "FAULTS": self.file}

    def put(self, place, value):
        with open(self.file, "r+b") as file:
            file.seek(8 * place)
            file.write(struct.pack("<q", value))


def clock(silos=1, when="both"):
    shim = Shim()
    cluster = Cluster(tempfile.mkdtemp() + "/data", silos, shim.environment)
    cluster.start()
    seen, count = {}, 0
    kept = [f"kept-{i}" for i in range(10)]
    for generation in kept:
        assert cluster.draw(generation) is not None
    hour, worst = 3600, 0

    def serve(what):
        nonlocal count, worst
        count += 1
        took = cluster.draw(f"g{count}", seen=seen)
        worst = max(worst, took or 999)
        check(f"{what}: serving within 30 s: {took and round(took, 1)} s", took is not None and took <= 30)

    def all_there():
        there = sum(
            cluster.view(g)[1] == 200 and cluster.call("GET", f"/v1/generations/{g}/picture")[0] == 200 for g in kept)
        check(f"nothing is deleted early: {there} of {len(kept)}", there == len(kept))

    steps = [15 * 60, -15 * 60, 2 * hour, -2 * hour, 8 * 24 * hour, -8 * 24 * hour]
    try:
        for step in steps if when != "between" else []:
            cluster.call("POST", "/v1/generations", {"id": f"long{step}", "prompt": "x", "steps": 100})
            for seconds in (step, 0):
                shim.put(0, seconds)
                serve(f"clock set by {seconds:+d} s while the cluster runs")
                end = time.monotonic() + (75 if seconds else 15)
                while time.monotonic() < end:
                    serve("   afterwards")
                    time.sleep(5)
                all_there()
            start = time.monotonic()
            while cluster.view(f"long{step}")[0]["phase"] != "done" and time.monotonic() - start < 60:
                time.sleep(0.5)
            check("work open when the clock was set is done", cluster.view(f"long{step}")[0]["phase"] == "done")
        for step in steps if when != "while" else []:
            for seconds in (step, 0):
                cluster.kill()
                shim.put(0, seconds)
                took = cluster.start()
                check(f"killed, clock set by {seconds:+d} s, started: up after {took:.1f} s", took <= 30)
                serve("   after the start")
                all_there()
        check(f"no response has status 500: {seen}", 500 not in seen)
        say(f"slowest picture after the clock was set: {worst:.1f} s")
    finally:
        cluster.stop()


def store(megabytes=4000):
    """20 tenants submit requests of 55 KB and cancel each immediately."""
    cluster = Cluster(
        tempfile.mkdtemp(dir=os.environ.get("TMPDIR", "/var/tmp")) + "/data",
        environment={"Store__MemoryMegabytes": "512"})
    cluster.start()
    tenants = [cluster.tenant(f"tenant-{i:02}", requests_per_minute=1_000_000) for i in range(20)]
    for key in tenants:
        assert cluster.draw("before", key=key) is not None
        assert cluster.call("POST", "/v1/sessions", {"id": "before"}, key)[0] == 201
    pictures = [cluster.call("GET", "/v1/generations/before/picture", key=key) for key in tenants]
    size, each = 55_000, 5e6 / 55_000
    total, made, codes, lock = megabytes * 1_000_000 // size, [0], {}, threading.Lock()
    [silo] = cluster.children("Silo")
    peak = [0]
    start = time.monotonic()

    def work():
        connection = http.client.HTTPConnection("127.0.0.1", cluster.port, timeout=60)
        while True:
            with lock:
                number = made[0]
                made[0] += 1
            if number >= total:
                return
            time.sleep(max(0, start + number / each - time.monotonic()))
            key = tenants[number % len(tenants)]
            headers = {"Authorization": "Bearer " + key, "Content-Type": "application/json"}
            body = {
                "id": f"g{number}", "prompt": f"{number:08}" + "p" * 31_900, "negative_prompt": "n" * 22_500,
                "steps": 1000}
            for method, path, content in (
                    ("POST", "/v1/generations", json.dumps(body)), ("POST", f"/v1/generations/g{number}/cancel", "{}")):
                for _ in range(100):
                    connection.request(method, path, content, headers)
                    answer = connection.getresponse()
                    answer.read()
                    codes[answer.status] = codes.get(answer.status, 0) + 1
                    if answer.status in (200, 202):
                        break
                    time.sleep(0.2)
            if number % 2000 == 0:
                peak[0] = max(peak[0], status_of(silo, "VmHWM"))
                log = os.path.getsize(cluster.folder + "/store/state.db-wal") >> 20
                say(f"{number} of {total}: {codes}, silo {status_of(silo, 'VmRSS') >> 10} MiB, "
                    f"peak {peak[0] >> 10} MiB, log {log} MiB")

    threads = [threading.Thread(target=work) for _ in range(12)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    seconds = time.monotonic() - start
    peak[0] = max(peak[0], status_of(silo, "VmHWM"))
    data = sum(os.path.getsize(file) for file in glob.glob(cluster.folder + "/store/*"))
    say(f"{total} requests in {seconds:.0f} s, {total * size / seconds / 1e6:.1f} MB/s; "
        f"the store has {data >> 20} MiB; {codes}")
    check(f"resident memory at most 2 GB: {peak[0] >> 10} MiB", peak[0] <= 2_000_000)

    def reminders():
        with contextlib.closing(sqlite3.connect(f"file:{cluster.folder}/store/state.db?mode=ro", uri=True)) as database:
            return set(database.execute("SELECT grain, name FROM reminders"))

    reminded = reminders()
    cluster.kill()
    took = cluster.start()
    check(f"killed and started within 30 s: {took:.1f} s", took <= 30)
    check(
        "every tenant's key opens its earlier picture, which has the same bytes",
        pictures == [cluster.call("GET", "/v1/generations/before/picture", key=key) for key in tenants]
        and pictures[0][0] == 200)
    check(
        "every session exists", all(cluster.call("GET", "/v1/sessions/before", key=key)[0] == 200 for key in tenants))
    listed = json.loads(cluster.call("GET", "/v1/admin/tenants", key=cluster.admin)[1])["items"]
    check(f"all tenants exist: {len(listed)}", len(listed) == 21)
    check(f"every reminder exists: {len(reminded)}", 0 < len(reminded) == len(reminded & reminders()))
    missing, wrong = 0, 0
    for number in range(total):
        view, status = cluster.view(f"g{number}", tenants[number % len(tenants)])
        missing += status != 200
        wrong += status == 200 and (view["phase"] != "cancelled" or view["prompt"][:8] != f"{number:08}")
        if number % 10000 == 0:
            say(f"checked {number}: {missing} missing, {wrong} wrong")
    check(f"nothing is missing: {missing} of {total}, {wrong} wrong", missing == 0 and wrong == 0)
    cluster.stop()
    shutil.rmtree(os.path.dirname(cluster.folder))


def collect(process):
    """Makes a .NET process collect its whole heap, by an event session with the heap keyword.

    The session is requested on the process's diagnostics socket.
    """
    paths = glob.glob(os.path.join(tempfile.gettempdir(), f"dotnet-diagnostic-{process}-*-socket"))
    if not paths:
        return

    def send(diagnostics, command, payload):
        diagnostics.settimeout(10)
        diagnostics.connect(paths[0])
        diagnostics.sendall(b"DOTNET_IPC_V1\0" + struct.pack("<HBBH", 20 + len(payload), 2, command, 0) + payload)

    name = "Microsoft-Windows-DotNETRuntime"
    text = struct.pack("<I", len(name) + 1) + (name + "\0").encode("utf-16-le")
    try:
        with socket.socket(socket.AF_UNIX) as events, socket.socket(socket.AF_UNIX) as end:
            send(
                events, 3,
                struct.pack("<IIBI", 10, 1, 0, 1) + struct.pack("<QI", 0x800000, 4) + text + struct.pack("<I", 0))
            answer = b""
            while len(answer) < 28 and (more := events.recv(28 - len(answer))):
                answer += more
            threading.Timer(1.0, lambda: send(end, 1, answer[20:28])).start()
            while events.recv(1 << 16):
                pass
    except OSError:
        pass


def metric(cluster, port, name):
    total = 0
    for line in cluster.call("GET", "/metrics", port=port, timeout=10)[1].decode().splitlines():
        if name in line.split("{")[0] and not line.startswith("#"):
            total += float(line.rsplit(" ", 1)[-1])
    return total


def sample(cluster, writer, elapsed, phase, counts):
    rows = []
    names = [("gateway", cluster.children("Gateway"), [cluster.metrics_port])]
    names.append(("silo", cluster.children("Silo"), [ports["metricsPort"] for ports in cluster.ports]))
    files = size = 0
    for place, _, found in os.walk(cluster.folder):
        if "/logs" not in place:
            files += len(found)
            size += sum(
                os.path.getsize(os.path.join(place, f)) for f in found if os.path.exists(os.path.join(place, f)))
    for name, processes, ports in names:
        for index, process in enumerate(processes):
            collect(process)
            heap = metric(cluster, ports[index], "gc_last_collection_heap_size") if len(processes) == len(ports) else 0
            try:
                handles = len(os.listdir(f"/proc/{process}/fd"))
            except OSError:
                continue
            rows.append([
                round(elapsed), phase, f"{name}-{index + 1}", process, status_of(process, "VmRSS"), int(heap), handles,
                status_of(process, "Threads"), files, size, counts["drawn"], counts["faults"]])
    writer.writerows(rows)


COLUMNS = [
    "seconds", "phase", "name", "process", "rss_kb", "heap", "handles", "threads", "files", "bytes", "drawn", "faults"]


def soak(folder="soak"):
    folder = os.path.abspath(folder)
    os.makedirs(folder, exist_ok=True)
    table = os.path.join(folder, "soak.csv")
    calm, storm = float(os.environ.get("CALM_MINUTES", 45)) * 60, float(os.environ.get("STORM_MINUTES", 30)) * 60
    before = 0.0
    if os.path.exists(table):
        with open(table) as file:
            before = max((float(row["seconds"]) for row in csv.DictReader(file)), default=0.0)
    # Ended generations are listed by hour and deleted ten minutes after the hour is over. Those of the first hour are
    # therefore deleted while processes are killed.
    cluster = Cluster(
        os.path.join(folder, "data"), silos=2, environment={"Retention__Generations": "00:10:00"},
        options=["--threads", "1"])
    cluster.start()
    keys = [cluster.tenant(f"soak{before:.0f}-{i}", requests_per_minute=1_000_000) for i in range(3)]
    counts, stop, lock, lost = {"drawn": 0, "faults": 0, "sessions": 0, "compared": 0}, threading.Event(
        ), threading.Lock(), []
    start = time.monotonic()

    def load(seed):
        """Makes sessions of a few pictures, watches and reads the pictures, reads them again (for one session in five
        4 minutes later), and deletes the session."""
        dice, run, key = random.Random(seed), f"{int(before)}-{seed}", keys[seed % len(keys)]
        kept = []

        def until(statuses, *request):
            while True:
                status, body = cluster.call(*request, key=key)
                counts["faults"] += status == 500
                if status in statuses or stop.is_set():
                    return status, body
                time.sleep(0.3)

        def ended(generation):
            patience = time.monotonic() + 120
            view, status = cluster.view(generation, key)
            while view["phase"] not in ("done", "failed", "cancelled") and time.monotonic() < patience:
                time.sleep(0.1)
                view, status = cluster.view(generation, key)
            return view, status

        def end(session, pictures):
            for generation, picture in pictures.items():
                status, again = until([200, 404, 410], "GET", f"/v1/generations/{generation}/picture")
                counts["compared"] += 1
                if status in (404, 410) or (status == 200 and again != picture):
                    lost.append((generation, "picture lost or changed", status))
            until([204, 404], "DELETE", f"/v1/sessions/{session}")

        number = 0
        while not stop.is_set():
            session = f"s{run}-{number}"
            made, pictures = [], {}
            until([201], "POST", "/v1/sessions", {"id": session})
            for picture in range(dice.randint(1, 4)):
                generation = f"g{run}-{number}-{picture}"
                body = {
                    "id": generation, "prompt": "a red star", "steps": dice.choice([1, 2, 4]),
                    "seed": dice.randrange(1 << 30)}
                if until([202], "POST", f"/v1/sessions/{session}/generations", body)[0] == 202:
                    made.append(generation)
                if dice.random() < 0.2:
                    cluster.call("POST", f"/v1/generations/{generation}/cancel", {}, key)
            for generation in made:
                if dice.random() < 0.5:
                    cluster.call("GET", f"/v1/generations/{generation}/events", key=key, timeout=20)
                view, status = ended(generation)
                with lock:
                    counts["drawn"] += view["phase"] == "done"
                    if view["phase"] not in ("done", "cancelled"):
                        lost.append((generation, view["phase"], status))
                if view["phase"] == "done":
                    status, picture = until([200, 404, 410], "GET", f"/v1/generations/{generation}/picture")
                    if status in (404, 410):
                        lost.append((generation, "no picture", status))
                    elif status == 200:
                        pictures[generation] = picture
            kept.append((time.monotonic() + (240 if dice.random() < 0.2 else 0), session, pictures))
            for one in [one for one in kept if one[0] <= time.monotonic()]:
                kept.remove(one)
                end(*one[1:])
            counts["sessions"] += 1
            number += 1
            time.sleep(dice.random() * 2)

    threads = [threading.Thread(target=load, args=(seed,), daemon=True) for seed in range(4)]
    [thread.start() for thread in threads]
    with open(table, "a", newline="") as file:
        writer = csv.writer(file)
        if file.tell() == 0:
            writer.writerow(COLUMNS)
        next_kill = 0.0
        while (elapsed := before + time.monotonic() - start) < calm + storm:
            phase = "calm" if elapsed < calm else "storm"
            sample(cluster, writer, elapsed, phase, counts)
            file.flush()
            if phase == "storm" and elapsed >= next_kill:
                victims = cluster.children("Silo") + cluster.children("Gateway")
                if next_kill and victims:
                    os.kill(random.choice(victims), signal.SIGKILL)
                next_kill = elapsed + 120
            time.sleep(max(0, 30 - (before + time.monotonic() - start - elapsed)))
    stop.set()
    [thread.join(150) for thread in threads]
    check(f"pictures were drawn: {counts}", counts["drawn"] > 0 < counts["compared"])
    check(f"nothing is lost or changed: {lost[:5]}", not lost)
    check(f"no response has status 500: {counts['faults']}", counts["faults"] == 0)
    cluster.stop()
    curves(folder)


def curves(folder="soak"):
    with open(os.path.join(folder, "soak.csv")) as file:
        rows = [{k: v if k in ("name", "phase") else float(v) for k, v in row.items()} for row in csv.DictReader(file)]
    for phase, window in (("calm", 25 * 60), ("storm", 30 * 60)):
        inside = [row for row in rows if row["phase"] == phase]
        if not inside:
            continue
        end = max(row["seconds"] for row in inside)
        inside = [row for row in inside if row["seconds"] >= end - window]
        for name in sorted({row["name"] for row in inside}):
            for column, unit, scale in (
                    ("heap", "MB", 1e6), ("rss_kb", "MB", 1e3), ("handles", "", 1), ("files", "", 1),
                    ("bytes", "MB", 1e6)):
                if phase == "storm" and column in ("heap", "rss_kb", "handles"):
                    continue
                points = [
                    (row["seconds"] / 60, row[column] / scale) for row in inside if row["name"] == name
                    and row[column] > 0]
                if len(points) < 5:
                    continue
                n = len(points)
                mx, my = sum(x for x, _ in points) / n, sum(y for _, y in points) / n
                sxx = sum((x - mx) ** 2 for x, _ in points)
                slope = sum((x - mx) * (y - my) for x, y in points) / sxx
                noise = (sum((y - my - slope * (x - mx)) ** 2 for x, y in points) / (n - 2) / sxx) ** 0.5
                say(f"{phase:6}{name:10}{column:8} mean {my:10.2f} {unit:2}  "
                    f"slope {slope:+.4f} +- {noise:.4f} per minute, {n} samples")


if __name__ == "__main__":
    START = time.monotonic()
    attacks = {
        "disk": disk, "hang": hang, "broken": broken, "clock": clock, "store": store, "soak": soak, "curves": curves}
    if len(sys.argv) < 2 or sys.argv[1] not in attacks:
        raise SystemExit(__doc__)
    attacks[sys.argv[1]](*[int(a) if a.isdigit() else a for a in sys.argv[2:]])
    raise SystemExit(1 if BROKEN else 0)
