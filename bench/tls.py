#!/usr/bin/env python3
"""The cost of a cluster's secured ports: CPU-seconds per picture with Cluster:Tls and without.

    bench/tls.py [PICTURES [TURNS]]     60 pictures a turn, 9 turns of each by default

Two clusters of two silos run side by side under `./atelier up`, built before; they draw in turns, and the order within
a pair alternates. User and system time of all their processes count. Prints a line a turn, and the mean difference of
the pairs with its 95 % interval. Python's standard library.
"""
import concurrent.futures, math, os, signal, statistics, sys, tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from ground import Cluster

STEPS, TOGETHER = 6, 4
T95 = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776, 6: 2.571, 7: 2.447, 8: 2.365, 9: 2.306, 10: 2.262, 12: 2.201, 16: 2.131}


def seconds(cluster):
    """CPU time used by a cluster's processes so far."""
    ticks = 0
    for process in [cluster.up.pid, *cluster.children("")]:
        fields = open(f"/proc/{process}/stat").read().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def draw(cluster, pictures):
    """CPU-seconds per picture over one turn."""
    def one(number):
        body = {"prompt": "a red star", "steps": STEPS, "seed": number, "response_format": "b64_json"}
        status, answer = cluster.call("POST", "/v1/images/generations", body)
        assert status == 200, (status, answer[:200])

    before = seconds(cluster)
    with concurrent.futures.ThreadPoolExecutor(TOGETHER) as pool:
        list(pool.map(one, range(pictures)))
    return (seconds(cluster) - before) / pictures


def main():
    pictures, turns = (int(text) for text in (sys.argv[1:] + ["60", "9"][len(sys.argv) - 1:]))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with tempfile.TemporaryDirectory() as folder:
        clusters = {
            tls: Cluster(
                os.path.join(folder, tls), silos=2, environment={"Cluster__Tls": tls}, options=["--threads", "1"])
            for tls in ("true", "false")}
        try:
            for cluster in clusters.values():
                cluster.start()
                draw(cluster, 20)
            pairs = []
            for turn in range(turns):
                order = ("true", "false") if turn % 2 == 0 else ("false", "true")
                took = {tls: draw(clusters[tls], pictures) for tls in order}
                pairs.append((took["true"], took["false"]))
                print(f"turn {turn + 1}: {took['true']:.4f} s with TLS, {took['false']:.4f} s without", flush=True)
        finally:
            for cluster in clusters.values():
                cluster.stop()
    differences = [one - other for one, other in pairs]
    mean, base = statistics.mean(differences), statistics.mean(other for _, other in pairs)
    half = T95.get(turns, 2.0) * statistics.stdev(differences) / math.sqrt(turns)
    print(f"{base:.4f} CPU-seconds per picture without TLS; TLS adds {1e3 * mean:.1f} ms, "
          f"95 % interval {1e3 * (mean - half):.1f} to {1e3 * (mean + half):.1f} ms ({100 * mean / base:+.1f} %, "
          f"{100 * (mean - half) / base:+.1f} to {100 * (mean + half) / base:+.1f} %)")


if __name__ == "__main__":
    main()
