#!/usr/bin/env python3
"""Measures what a feature or a change costs: CPU-seconds with and without it, as a mean difference with its 95 %
confidence interval.

    bench/cost.py tls                 a picture with Cluster:Tls and without it
    bench/cost.py pictures CHECKOUT   a picture by this checkout, and by another checkout that is built
    bench/cost.py training CHECKOUT   a training step by this checkout, and by another checkout that is built

    --turns N     turns of each variant, 9 by default; the order within a pair of turns alternates
    --each N      pictures (60 by default) or training steps (40 by default) per turn

Two clusters of two silos run side by side under `./atelier up`; they draw in turns. A turn of training is one process
of one thread on 600 scenes of the demo world; the cost of starting it is measured with runs of one step and subtracted.
User and system time of all processes are counted. Prints one line per turn. Needs only Python's standard library.
"""
import argparse, concurrent.futures, math, os, resource, signal, statistics, subprocess, sys, tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from ground import ROOT, Cluster

STEPS, TOGETHER = 6, 4
T95 = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776, 6: 2.571, 7: 2.447, 8: 2.365, 9: 2.306, 10: 2.262, 12: 2.201, 16: 2.131}


def seconds(cluster):
    """CPU time of a cluster's processes so far."""
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


def in_turns(names, turns, measure, what):
    """Measures both variants in pairs of turns, and prints their mean difference."""
    pairs = []
    for turn in range(turns):
        order = names if turn % 2 == 0 else names[::-1]
        took = {name: measure(name) for name in order}
        pairs.append(tuple(took[name] for name in names))
        print(f"turn {turn + 1}: " + ", ".join(f"{took[name]:.4f} s {name}" for name in names), flush=True)
    differences = [one - other for one, other in pairs]
    mean, base = statistics.mean(differences), statistics.mean(other for _, other in pairs)
    half = T95.get(turns, 2.0) * statistics.stdev(differences) / math.sqrt(turns)
    print(f"{base:.4f} CPU-seconds per {what} {names[1]}; difference {names[0]} {1e3 * mean:+.1f} ms, "
          f"95 % interval {1e3 * (mean - half):+.1f} to {1e3 * (mean + half):+.1f} ms ({100 * mean / base:+.1f} %, "
          f"{100 * (mean - half) / base:+.1f} to {100 * (mean + half) / base:+.1f} %)")


def pictures(clusters, turns, each):
    """Measures two clusters side by side; `clusters` maps the name of each variant to its cluster."""
    try:
        for cluster in clusters.values():
            cluster.start()
            draw(cluster, 20)
        in_turns(list(clusters), turns, lambda name: draw(clusters[name], each), "picture")
    finally:
        for cluster in clusters.values():
            cluster.stop()


def atelier(root, *arguments):
    """CPU-seconds of one command of a checkout."""
    program = os.path.join(root, "artifacts", "cpu", "bin", "Cli", "release", "Atelier.Cli.dll")
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(["dotnet", program, *arguments], cwd=root, check=True, stdout=subprocess.DEVNULL,
                   env={**os.environ, "ATELIER_HOME": root})
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def training(roots, turns, each):
    with tempfile.TemporaryDirectory() as folder:
        latents = os.path.join(folder, "latents")
        atelier(ROOT, "data", "precompute", latents, "--shapes", "600", "--size", "64", "--model", "models/shapes")
        stage = os.path.join(folder, "stage.yaml")
        with open(os.path.join(ROOT, "configs", "shapes", "1_res_64_pretrain.yaml")) as file, open(stage, "w") as own:
            own.write(file.read().partition("panel:")[0])  # A panel would be drawn at the end of every run.
        runs = 0

        def train(name, steps):
            nonlocal runs
            runs += 1
            return atelier(
                roots[name], "train", stage, f"trainer.max_duration={steps}ba",
                f"dataset.train.datadir={latents}", f"trainer.save_folder={folder}/{runs}",
                "scheduler.t_warmup=1ba", "model.dtype=float32")

        in_turns(list(roots), turns, lambda name: (train(name, each + 1) - train(name, 1)) / each, "training step")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["tls", "pictures", "training"])
    parser.add_argument("checkout", nargs="?")
    parser.add_argument("--turns", type=int, default=9)
    parser.add_argument("--each", type=int)
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    if options.what != "tls" and not options.checkout:
        parser.error("give the path of another checkout that is built")
    roots = {"here": ROOT, "there": os.path.abspath(options.checkout or ROOT)}
    with tempfile.TemporaryDirectory() as folder:
        if options.what == "training":
            training(roots, options.turns, options.each or 40)
        elif options.what == "pictures":
            pictures({name: Cluster(os.path.join(folder, name), silos=2, options=["--threads", "1"], root=root)
                      for name, root in roots.items()}, options.turns, options.each or 60)
        else:
            pictures({name: Cluster(os.path.join(folder, name), silos=2, options=["--threads", "1"],
                                    environment={"Cluster__Tls": tls})
                      for name, tls in (("with TLS", "true"), ("without TLS", "false"))},
                     options.turns, options.each or 60)


if __name__ == "__main__":
    main()
