#!/usr/bin/env python3
"""Measures training in a cluster: what distribution costs, joining, goodput, and what a checkpoint costs.

    bench/distribution.py cost [--rounds N] [--stage demo|tiny ...]
    bench/distribution.py joining [--rounds N]
    bench/distribution.py goodput [--minutes N] [--every SECONDS]
    bench/distribution.py checkpoint

cost: images/s of `atelier train` with two lanes and of two trainers in a cluster, both with one thread per shard, by
turns; medians and their ratio. The stages are stage 2 of configs/shapes and a MicroDiT_Tiny_2 (256 tokens, 8 images per
shard), both with V = 8. joining: a silo is killed and started again; the time from the start of its process, and from
its readiness, to its membership in a world, and the steps that the others lose. goodput: three silos, one of which is
killed every minute, the one with the store among them; the rate of applied steps during two kills over the rate
without, by turns. checkpoint: the time of a step with and without a checkpoint, from the silos' metrics.
Build first with ./atelier test or ./atelier up; nothing else should run. Needs only Python's standard library.
"""
import argparse, http.client, json, os, re, signal, statistics, subprocess, sys, tempfile, time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from ground import ROOT, Cluster
from worlds import PROGRAM, STAGES, atelier

TOY = os.path.join(ROOT, "configs", "toy", STAGES[0] + ".yaml")
DEMO = os.path.join(ROOT, "configs", "shapes", "2_res_64_finetune.yaml")
ENDLESS = ["trainer.max_duration=100000ba", "trainer.save_interval=100000ba"]

# Keys of the model that MicroDiT_Tiny_2 defines itself.
SHAPE = ["dim", "depth", "head_dim", "multiple_of", "qkv_ratio", "mlp_ratio", "patch_mixer_depth", "patch_mixer_dim",
         "patch_mixer_mlp_ratio", "num_experts", "expert_capacity", "patch_size"]

# For each stage: size of the pictures, changes, steps to measure, and images per step.
COST = {
    "demo": (64, [], 40, 128),
    "tiny": (128, ["model.dit_arch=MicroDiT_Tiny_2", "model.latent_res=32", "dataset.image_size=128",
                   "dataset.train_batch_size=64"], 3, 64),
}


def configuration(folder, stage):
    """The configuration of a stage of COST, which starts from the initializer and draws no panel."""
    text = open(DEMO, encoding="utf-8").read().split("\npanel:")[0]
    dropped = ["load_path", "load_weights", *(SHAPE if stage == "tiny" else [])]
    lines = [line for line in text.splitlines() if line.strip().split(":")[0] not in dropped]
    path = os.path.join(folder, f"{stage}.yaml")
    open(path, "w", encoding="utf-8").write("\n".join(lines) + "\n")
    return path


def precompute(folder, size, scenes=500):
    data = os.path.join(folder, f"latents-{size}")
    if not os.path.exists(data):
        atelier("data", "precompute", data, "--shapes", str(scenes), "--size", str(size), "--model",
                os.path.join(ROOT, "models", "shapes"), cwd=folder)
    return data


def alone(folder, config, changes, steps, number):
    """Images per second of `atelier train` with two lanes, from the time of its steps."""
    run = os.path.join(folder, f"alone-{number}")
    training = subprocess.Popen(
        ["dotnet", PROGRAM, "train", config, "--threads", "2", *changes, f"trainer.save_folder={run}",
         f"trainer.max_duration={steps + 6}ba"],
        cwd=folder, env={**os.environ, "ATELIER_HOME": ROOT}, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT)
    metrics, seen = os.path.join(run, "metrics.jsonl"), {}
    while training.poll() is None:
        count = len(open(metrics).readlines()) if os.path.exists(metrics) else 0
        seen.setdefault(count, time.monotonic())
        time.sleep(0.02)
    first, last = min(count for count in seen if count >= 3), min(count for count in seen if count >= 3 + steps)
    return (last - first) / (seen[last] - seen[first])


class Stage:
    """A run of one stage in a cluster."""

    def __init__(self, cluster, name):
        self.cluster, self.name = cluster, name

    def submit(self, folder, config, changes):
        atelier("runs", "submit", config, "--id", self.name, "--data", self.cluster.folder, *changes, cwd=folder)

    def view(self):
        status, body = self.cluster.call(
            "GET", f"/v1/training/runs/{self.name}", key=self.cluster.admin, timeout=5)
        stages = json.loads(body)["stages"] if status == 200 else []
        return stages[-1] if stages else None

    def cancel(self, folder):
        atelier("runs", "cancel", self.name, "--data", self.cluster.folder, cwd=folder)

    def rate(self, steps, trainers):
        """Steps per second over at least this many steps, once so many trainers compute shards."""
        first = last = None
        while True:
            seen = self.view()
            members = [one for one in seen["trainers"] if one["shards"]] if seen else []
            if seen and len(members) == trainers and seen["step"] >= 3:
                if last is None or seen["step"] > last[0]:
                    last = (seen["step"], time.monotonic())
                    first = first or last
                if last[0] - first[0] >= steps:
                    return (last[0] - first[0]) / (last[1] - first[1])
            else:
                first = last = None
            time.sleep(0.02)


def cluster_of(folder, name, silos):
    return Cluster(os.path.join(folder, name), silos=silos, options=["--threads", "1"], environment={
        "Trainer__HeartbeatPeriod": "00:00:00.250"} if name == "cost" else None)


def cost(folder, options):
    cluster = cluster_of(folder, "cost", 2)
    cluster.start()
    try:
        for stage in options.stage:
            size, changes, steps, images = COST[stage]
            config = configuration(folder, stage)
            changes = [*changes, f"dataset.train.datadir={precompute(folder, size)}"]
            rates = {"train": [], "cluster": []}
            for i in range(options.rounds):
                rates["train"].append(alone(folder, config, changes, steps, f"{stage}-{i}") * images)
                run = Stage(cluster, f"{stage}-{i}")
                run.submit(folder, config, [
                    *changes, *ENDLESS, f"trainer.save_folder={os.path.join(folder, run.name)}"])
                rates["cluster"].append(run.rate(steps, 2) * images)
                run.cancel(folder)
                print(f"{stage} {i + 1}: train {rates['train'][-1]:.1f}, cluster {rates['cluster'][-1]:.1f} images/s",
                      flush=True)
            ratios = [there / here for here, there in zip(rates["train"], rates["cluster"])]
            print(f"{stage}: median {statistics.median(rates['train']):.1f} and "
                  f"{statistics.median(rates['cluster']):.1f} images/s; ratio {statistics.median(ratios):.3f} "
                  f"({min(ratios):.3f} to {max(ratios):.3f})", flush=True)
    finally:
        cluster.stop()


def toy(folder, name, silos, changes=()):
    """A cluster that trains the toy stage without an end."""
    cluster = cluster_of(folder, name, silos)
    cluster.start()
    run = Stage(cluster, name)
    run.submit(folder, TOY, [
        "trainer.max_duration=100000ba", f"dataset.train.datadir={precompute(folder, 64)}",
        f"trainer.save_folder={os.path.join(folder, name + '-run')}", *changes])
    return cluster, run


def is_ready(port):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1)
    try:
        connection.request("GET", "/health/ready")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def joining(folder, options):
    cluster, run = toy(folder, "joining", 3)
    try:
        step_time = 1 / run.rate(100, 3)
        print(f"three trainers: {step_time:.3f} s a step")
        for i in range(options.rounds):
            before = set(cluster.children("Silo"))
            known = {one["trainer"] for one in run.view()["trainers"]}
            victim = sorted(before)[-1]
            port = next(silo["metricsPort"] for silo in cluster.ports
                        if f":{silo['metricsPort']} " in listeners(victim))
            os.kill(victim, signal.SIGKILL)
            while not set(cluster.children("Silo")) - before:
                time.sleep(0.01)
            started = time.monotonic()
            ready = joined = None
            steps = []
            while joined is None:
                ready = ready or (time.monotonic() if is_ready(port) else None)
                seen = run.view()
                if seen:
                    steps.append((time.monotonic(), seen["step"]))
                    joined = time.monotonic() if any(
                        one["shards"] and one["trainer"] not in known for one in seen["trainers"]) else None
                time.sleep(0.02)
            # What the others lose: the world that admits the newcomer, against the rate without it.
            after = time.monotonic() + 5
            while time.monotonic() < after:
                seen = run.view()
                if seen:
                    steps.append((time.monotonic(), seen["step"]))
                time.sleep(0.02)
            around = [one for one in steps if joined - 1.5 < one[0] < joined + 4]
            longest = max(later[0] - earlier[0] for earlier, later in zip(changes(around), changes(around)[1:]))
            print(f"joining {i + 1}: a member {joined - started:.1f} s after its process started, "
                  f"{joined - (ready or joined):.1f} s after it was ready; longest time without a new step, as "
                  f"reported once a second: {longest:.2f} s", flush=True)
            run.rate(50, 3)
    finally:
        cluster.stop()


def changes(steps):
    """The moments at which the step has changed."""
    found = steps[:1]
    for one in steps:
        if one[1] != found[-1][1]:
            found.append(one)
    return found


def listeners(process):
    found = subprocess.run(["ss", "-ltnp"], capture_output=True, text=True).stdout
    return "\n".join(line for line in found.splitlines() if f"pid={process}," in line)


def goodput(folder, options):
    cluster, run = toy(folder, "goodput", 3)
    shares, kills, disturbed, calm = [], 0, 0.0, []
    try:
        while disturbed < 60 * options.minutes:
            # Both rates are measured by turns, because the machine's speed changes within minutes.
            calm.append(run.rate(max(100, int(options.every * (calm[-1] if calm else 3))), 3))
            started, first = time.monotonic(), run.view()["step"]
            last = first
            for _ in range(2):
                silos = sorted(cluster.children("Silo"))
                os.kill(silos[kills % len(silos)], signal.SIGKILL)
                kills += 1
                end = started + options.every * (2 - kills % 2)
                while time.monotonic() < end:
                    last = (run.view() or {"step": last})["step"]
                    time.sleep(0.2)
            took = time.monotonic() - started
            disturbed += took
            shares.append((last - first) / took / calm[-1])
            print(f"{kills} kills: {last - first} steps in {took:.0f} s, undisturbed {calm[-1]:.2f} steps/s: "
                  f"{shares[-1]:.3f}", flush=True)
        around = 1.96 * statistics.stdev(shares) / len(shares) ** 0.5 if len(shares) > 1 else float("nan")
        print(f"goodput {statistics.mean(shares):.3f} ± {around:.3f}, {kills} kills, one every {options.every:g} s")
    finally:
        cluster.stop()


def checkpoint(folder, options):
    cluster, run = toy(folder, "checkpoint", 2, ["trainer.save_interval=20ba"])
    try:
        run.rate(600, 2)
        sums = {}
        for port in (silo["metricsPort"] for silo in cluster.ports):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            try:
                connection.request("GET", "/metrics")
                text = connection.getresponse().read().decode(errors="replace")
            except (OSError, http.client.HTTPException):
                continue
            finally:
                connection.close()
            for name, what, labels, value in re.findall(
                    r"^atelier_training_(step|apply)_duration_seconds_(sum|count)\{([^}]*)\} (\S+)", text,
                    re.M):
                kept = "true" in labels.lower().split("atelier_checkpoint")[1]
                sums[name, kept, what] = sums.get((name, kept, what), 0) + float(value)
        for name in ("step", "apply"):
            with_one, without = (sums[name, kept, "sum"] / sums[name, kept, "count"] for kept in (True, False))
            print(f"{name}: {1000 * with_one:.1f} ms with a checkpoint ({sums[name, True, 'count']:.0f} of them), "
                  f"{1000 * without:.1f} ms without: {1000 * (with_one - without):.1f} ms more")
    finally:
        cluster.stop()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["cost", "joining", "goodput", "checkpoint"])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--minutes", type=float, default=15)
    parser.add_argument("--every", type=float, default=60)
    parser.add_argument("--stage", nargs="+", default=list(COST), choices=list(COST))
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with tempfile.TemporaryDirectory() as folder:
        {"cost": cost, "joining": joining, "goodput": goodput, "checkpoint": checkpoint}[options.what](folder, options)


if __name__ == "__main__":
    main()
