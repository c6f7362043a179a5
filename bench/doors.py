#!/usr/bin/env python3
"""Attacks on a gateway's limits, under `./atelier up`.

    bench/doors.py flood [KEYS]     unknown keys (100,000 by default) at 500/s and full speed, while a tenant draws
    bench/doors.py idle             connections that send nothing, half a request, or a single request
    bench/doors.py streams          one tenant that opens more streams than the gateway allows connections

Each attack prints its results and exits with 1 if a promise was broken. Needs only Python's standard library.
"""
import glob, http.client, json, os, secrets, shutil, socket, subprocess, sys, tempfile, threading, time

import ground
from ground import Cluster, check, collect, say

THREADS = 4


def quantile(times, part):
    return sorted(times)[min(len(times) - 1, int(part * len(times)))] if times else float("nan")


class Flood:
    """Sends requests from a separate process: with unknown keys, or to /health/live."""

    def __init__(self, port, kind, rate, seconds):
        self.process = subprocess.Popen(
            [sys.executable, os.path.abspath(__file__), "send", str(port), kind, str(rate), str(seconds)],
            stdout=subprocess.PIPE, text=True)

    def counts(self):
        return json.loads(self.process.communicate()[0])


def send(port, kind, rate, seconds):
    """Sends requests on persistent connections, at a rate, or as fast as they are answered if the rate is 0. Prints
    the number of responses of each status."""
    counts, end, lock = {}, time.monotonic() + seconds, threading.Lock()

    def work():
        sent, start = 0, time.monotonic()
        with socket.create_connection(("127.0.0.1", port)) as connection:
            while time.monotonic() < end:
                if rate and (wait := start + sent * THREADS / rate - time.monotonic()) > 0:
                    time.sleep(wait)
                key = f"atl_{secrets.token_hex(16)}_{secrets.token_urlsafe(32)}"
                head = f"GET /v1/models HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {key}\r\n\r\n" if kind == "keys" \
                    else "GET /health/live HTTP/1.1\r\nHost: h\r\n\r\n"
                connection.sendall(head.encode())
                answer = b""
                while b"\r\n\r\n" not in answer:
                    answer += connection.recv(65536)
                head, body = answer.split(b"\r\n\r\n", 1)
                for line in head.split(b"\r\n"):
                    if line.lower().startswith(b"content-length:"):
                        left = int(line[15:]) - len(body)
                        while left > 0:
                            left -= len(connection.recv(left))
                if b"chunked" in head:
                    while not answer.endswith(b"0\r\n\r\n"):
                        answer += connection.recv(65536)
                sent += 1
                status = head[9:12].decode()
                with lock:
                    counts[status] = counts.get(status, 0) + 1

    threads = [threading.Thread(target=work) for _ in range(THREADS)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    print(json.dumps(counts))


def draws(cluster, key, seconds, times, statuses):
    """Draws pictures of two steps, one after another, and records how long each took and its status."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        start = time.monotonic()
        status, _ = cluster.call(
            "POST", "/v1/images/generations", {"prompt": "a red star", "steps": 2, "response_format": "url"}, key)
        times.append(time.monotonic() - start)
        statuses[status] = statuses.get(status, 0) + 1


def metric(cluster, port, *words):
    body = cluster.call("GET", "/metrics", port=port, timeout=10)[1].decode()
    return sum(float(line.rsplit(" ", 1)[-1]) for line in body.splitlines()
               if not line.startswith("#") and all(word in line for word in words))


def state(cluster):
    """Live heap bytes after a collection, activations of tenants, and lines in the logs."""
    places = [("gateway", cluster.children("Gateway")[0], cluster.metrics_port)]
    places += [("silo", cluster.children("Silo")[0], cluster.ports[0]["metricsPort"])]
    found = {}
    for name, process, port in places:
        for _ in range(3):
            collect(process)
        found[name] = (metric(cluster, port, "gc_last_collection_heap_size")
                       - metric(cluster, port, "gc_last_collection_heap_fragmentation_size"))
    found["tenants"] = metric(cluster, cluster.ports[0]["metricsPort"], "catalog_activations", '"tenant"')
    found["lines"] = sum(open(log, "rb").read().count(b"\n") for log in glob.glob(cluster.folder + "/logs/*"))
    return found


def flood(keys=100_000):
    cluster = Cluster(tempfile.mkdtemp() + "/data")
    cluster.start()
    try:
        key = cluster.tenant("others", requests_per_minute=1_000_000)
        draws(cluster, key, 20, [], {})

        # Measures what unknown keys leave in memory. The first few thousand requests fill pools and bounded tables, so
        # they are not counted. If keys left anything behind, the ten times as many that follow would show it.
        Flood(cluster.port, "health", 0, 15).counts()
        begun, alone = time.monotonic(), 0
        fresh = state(cluster)
        first = sum(Flood(cluster.port, "keys", 0, 3).counts().values())
        before = state(cluster)
        say(f"gateway's heap after /health alone {fresh['gateway'] / 1e6:.1f} MB, "
            f"after {first} keys {before['gateway'] / 1e6:.1f} MB")
        while alone < keys:
            alone += sum(Flood(cluster.port, "keys", 0, 10).counts().values())
        after = state(cluster)
        say(f"{alone} keys in {time.monotonic() - begun:.0f} s")
        kinds = {"calm": None, "500/s": ("keys", 500), "full speed": ("keys", 0), "health": ("health", 0)}
        times, statuses, counts = {kind: [] for kind in kinds}, {}, {kind: {} for kind in kinds}
        sent = turns = 0
        while turns < 4:
            # The kinds take turns, in alternating order, so that other load on the machine affects all of them alike.
            for kind in list(kinds) if turns % 2 == 0 else list(kinds)[::-1]:
                attack = Flood(cluster.port, *kinds[kind], 10) if kinds[kind] else None
                draws(cluster, key, 10, times[kind], statuses)
                for status, count in (attack.counts() if attack else {}).items():
                    counts[kind][status] = counts[kind].get(status, 0) + count
            turns += 1
            sent = sum(counts["500/s"].values()) + sum(counts["full speed"].values())
        elapsed = time.monotonic() - begun
        end = state(cluster)
        for kind in kinds:
            say(f"{kind}: {counts[kind]}; {len(times[kind])} pictures, p50 {quantile(times[kind], .5):.3f} s, "
                f"p95 {quantile(times[kind], .95):.3f} s")
        p95 = {kind: quantile(times[kind], .95) for kind in kinds}
        check(
            f"{sent} unknown keys, each rejected",
            all(set(counts[kind]) <= {"401", "429"} for kind in ("500/s", "full speed")))
        check(f"pictures of other tenants: {statuses}", set(statuses) == {200})
        check(
            f"at 500/s other tenants' p95 within 10 %: {p95['500/s'] / p95['calm'] - 1:+.1%}",
            p95["500/s"] <= 1.1 * p95["calm"])
        check(f"at full speed p95 not worse than under a flood of /health (10 % noise): "
              f"{p95['full speed'] / p95['health'] - 1:+.1%}",
              p95["full speed"] <= 1.1 * p95["health"])
        for name in ("gateway", "silo"):
            check(f"{name}: heap after collection within 5 %: {before[name] / 1e6:.1f} -> {after[name] / 1e6:.1f} MB",
                  after[name] <= 1.05 * before[name])
        check(
            f"no activation per key: tenants {before['tenants']:.0f} -> {end['tenants']:.0f}",
            end["tenants"] <= before["tenants"] + 1)
        lines = end["lines"] - before["lines"]
        check(f"at most one log line a second: {lines} in {elapsed:.0f} s", lines <= elapsed)
        new = cluster.tenant("newcomer")
        attack = Flood(cluster.port, "keys", 0, 8)
        time.sleep(2)
        start = time.monotonic()
        while (status := cluster.call("GET", "/v1/models", key=new)[0]) == 429:
            time.sleep(0.2)
        check(f"a key that was never used is served within 5 s during the flood: "
              f"{time.monotonic() - start:.1f} s, {status}",
              status == 200 and time.monotonic() - start <= 5)
        attack.counts()
    finally:
        cluster.stop()
        shutil.rmtree(os.path.dirname(cluster.folder))


def served(cluster, key):
    start = time.monotonic()
    status = cluster.call("GET", "/v1/models", key=key, timeout=5)[0]
    return status == 200, time.monotonic() - start


def idle():
    cluster = Cluster(tempfile.mkdtemp() + "/data", environment={"Gateway__ConnectionsMax": "100"})
    cluster.start()
    try:
        key = cluster.tenant("others")
        for what, data in (("nothing sent", b""), ("half a header", b"GET / HTTP/1.1\r\nHost: l\r\nX: "),
                           ("idle after one request", b"GET /health/live HTTP/1.1\r\nHost: l\r\n\r\n")):
            held = []
            for _ in range(300):
                held.append(socket.create_connection(("127.0.0.1", cluster.port)))
                try:
                    held[-1].sendall(data)
                except OSError:
                    pass
            results = [served(cluster, key) for _ in range(50)]
            check(f"300 connections, {what}: other tenants are served, {sum(good for good, _ in results)} of 50, "
                  f"at most {max(took for _, took in results):.2f} s", all(good for good, _ in results))
            [connection.close() for connection in held]
    finally:
        cluster.stop()
        shutil.rmtree(os.path.dirname(cluster.folder))


def streams():
    cluster = Cluster(tempfile.mkdtemp() + "/data", environment={
        "Gateway__ConnectionsMax": "200", "Gateway__RequestsPerSecond": "1000", "Gateway__RequestsBurst": "1000"})
    cluster.start()
    try:
        greedy, key = cluster.tenant("greedy"), cluster.tenant("others")
        assert cluster.call("POST", "/v1/generations", {"id": "long", "prompt": "x", "steps": 1000}, greedy)[0] == 202
        held, heads = [], {}
        for _ in range(220):
            connection = http.client.HTTPConnection("127.0.0.1", cluster.port, timeout=10)
            try:
                connection.request("GET", "/v1/generations/long/events", headers={"Authorization": "Bearer " + greedy})
                answer = connection.getresponse()
                heads[answer.status] = heads.get(answer.status, 0) + 1
                held.append((connection, answer))
            except (OSError, http.client.HTTPException):
                heads[0] = heads.get(0, 0) + 1
        check(
            f"of 220 streams of one tenant, 20 are served and the others rejected: {heads}",
            heads == {200: 20, 429: 200})
        results = [served(cluster, key) for _ in range(50)]
        check(f"other tenants are served: {sum(good for good, _ in results)} of 50", all(good for good, _ in results))
        check("further requests of that tenant get 429", cluster.call("GET", "/v1/models", key=greedy)[0] == 429)
        for connection, answer in held:
            answer.close()
            connection.close()
        patience = time.monotonic() + 10
        while cluster.call("GET", "/v1/models", key=greedy)[0] != 200 and time.monotonic() < patience:
            time.sleep(0.1)
        check("when its streams end, that tenant is served again",
              cluster.call("GET", "/v1/models", key=greedy)[0] == 200)
    finally:
        cluster.stop()
        shutil.rmtree(os.path.dirname(cluster.folder))


if __name__ == "__main__":
    ground.START = time.monotonic()
    attacks = {"flood": flood, "idle": idle, "streams": streams, "send": send}
    if len(sys.argv) < 2 or sys.argv[1] not in attacks:
        raise SystemExit(__doc__)
    attacks[sys.argv[1]](*[int(a) if a.isdigit() else a for a in sys.argv[2:]])
    raise SystemExit(1 if ground.BROKEN else 0)
