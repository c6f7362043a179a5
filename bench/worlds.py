#!/usr/bin/env python3
"""Trains in a cluster whose processes are killed; checks that the weights are those of `atelier train`, bit for bit.

    bench/worlds.py [--kills N] [--every SECONDS] [--silos N ...] [--seed N] [--lanes N ...] [--move]
                    [--measure]

Trains the two stages of configs/toy by `atelier train` with each number of threads, then in a cluster of silos under
`atelier up`, whose processes are killed meanwhile: one of them by SIGKILL or SIGTERM, or all at once. Prints the
digests of weights, moments and averages side by side. An audit that shares no code with the writer reads the records
of steps from the blob store, and counts how often each sample of each epoch was used. With several numbers of silos
the run is repeated in clusters of these sizes. With --move another run begins in `atelier train`, continues in the
cluster, and ends in `atelier train`. With --measure the script prints step rates, and pauses after kills. Exits with 1
if anything differs.
Build first with ./atelier test or ./atelier up. Needs only Python's standard library.
"""
import argparse, hashlib, json, os, random, signal, struct, subprocess, sys, tempfile, time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from ground import ROOT, Cluster

SCENES, STAGES = 500, ["1_masked", "2_unmasked"]


PROGRAM = os.path.join(ROOT, "artifacts", "cpu", "bin", "Cli", "release", "Atelier.Cli.dll")


def atelier(*arguments, cwd):
    done = subprocess.run(["dotnet", PROGRAM, *arguments], cwd=cwd, env={**os.environ, "ATELIER_HOME": ROOT},
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        sys.exit(f"atelier {' '.join(arguments)} failed:\n{done.stdout[-2000:]}")
    return done.stdout


def tensors(path):
    """Metadata and the bytes of each tensor of a safetensors file."""
    data = open(path, "rb").read()
    length, = struct.unpack("<Q", data[:8])
    header = json.loads(data[8:8 + length])
    return header.pop("__metadata__", {}), {
        name: data[8 + length + entry["data_offsets"][0]:8 + length + entry["data_offsets"][1]]
        for name, entry in header.items()}


def digests(folder):
    """Digests of the last checkpoint of `atelier train`: of the weights, and of the whole state."""
    last = max((name for name in os.listdir(folder) if name.startswith(("step-", "stop-"))), key=lambda name: name[5:])
    metadata, found = tensors(os.path.join(folder, last))
    whole = b"".join(found[name] for name in ("weights", "moment1", "moment2", "ema"))
    return (hashlib.sha256(found["weights"]).hexdigest(), hashlib.sha256(whole).hexdigest(),
            json.loads(metadata["position"]))


def losses(folder):
    """Loss by step, as `atelier train` wrote it."""
    with open(os.path.join(folder, "metrics.jsonl"), encoding="utf-8") as file:
        return {step["step"]: float(step["loss"]) for step in map(json.loads, file)}


def records(blobs, digest):
    """All records of steps, in order, up to and including the file with the given digest."""
    found = []
    while digest:
        path = next((os.path.join(base, digest) for base, _, names in os.walk(blobs) if digest in names), None)
        path = path or next((os.path.join(base, name) for base, folders, names in os.walk(blobs)
                             for name in names if digest in os.path.join(base, name)
                             and os.path.getsize(os.path.join(base, name)) > 0), None)
        data = open(path, "rb").read()
        assert hashlib.sha256(data).hexdigest() == digest, path
        lines = [json.loads(line) for line in data.decode().splitlines()]
        found = lines[1:] + found
        digest = lines[0].get("previous")
    return found


def audit(steps, samples, batch):
    """Faults in the use of samples, and the number of samples in the weights. Every epoch must take each sample once. A
    sample is used if its step was applied and not undone by a later rollback; all others are listed by their step."""
    faults, used, undone = [], [], set()
    for record in steps:
        if record["verdict"] == "roll_back":
            undone |= set(range(record["undone_from"], record["step"] + 1))
        elif record.get("undone_from") is not None:
            faults.append(f"step {record['step']} undoes others, but its verdict is {record['verdict']}")
    if [record["step"] for record in steps] != list(range(len(steps))):
        faults.append("steps are missing or duplicated: " + str([record["step"] for record in steps])[:200])
    for record in steps:
        slice_ = record["samples"] + record["left_out"]
        if len(slice_) != batch:
            faults.append(f"step {record['step']} lists {len(slice_)} samples, not {batch}")
        used += slice_
    for epoch in range((len(used) + samples - 1) // samples):
        part = used[epoch * samples:(epoch + 1) * samples]
        if len(set(part)) != len(part) or (len(part) == samples and set(part) != set(range(samples))):
            faults.append(f"epoch {epoch} does not take each sample once")
    in_weights = sum(len(record["samples"]) for record in steps
                     if record["verdict"] == "apply" and record["step"] not in undone)
    return faults, in_weights


def train(folder, threads):
    """Runs `atelier train` with a number of threads. Returns digests and losses of each stage."""
    work = workplace(folder, f"train-{threads}")
    atelier("train", os.path.join(ROOT, "configs", "toy"), "--threads", str(threads), cwd=work)
    stages = [os.path.join(work, "runs", "toy", stage) for stage in STAGES]
    return [(*digests(stage), losses(stage)) for stage in stages]


def workplace(folder, name):
    """A folder in which the stages of configs/toy find their data."""
    work = os.path.join(folder, name)
    os.makedirs(os.path.join(work, "runs", "toy"))
    os.symlink(os.path.join(folder, "latents"), os.path.join(work, "runs", "toy", "latents"))
    return work


def moved(folder, silos):
    """Stops `atelier train` after 60 steps, continues in a cluster to step 100 or later, and ends in `atelier train`.
    Returns digests and losses of each stage, and the steps at which the run moved."""
    work = workplace(folder, "moved")
    stage = os.path.join(work, "runs", "toy", STAGES[0])
    config = os.path.join(ROOT, "configs", "toy")
    training = subprocess.Popen(["dotnet", PROGRAM, "train", config, "--threads", "1"], cwd=work,
                                env={**os.environ, "ATELIER_HOME": ROOT}, stdout=subprocess.DEVNULL)
    metrics = os.path.join(stage, "metrics.jsonl")
    while training.poll() is None and not (os.path.exists(metrics) and len(open(metrics).readlines()) >= 60):
        time.sleep(0.2)
    training.send_signal(signal.SIGTERM)
    training.wait()
    steps = [digests(stage)[2]["Step"]]
    cluster = Cluster(os.path.join(folder, "moved-cluster"), silos=silos, options=["--threads", "1"])
    cluster.start()
    try:
        atelier("runs", "submit", config, "--id", "moved", "--resume", "--data", cluster.folder, cwd=work)
        while True:
            _, body = cluster.call("GET", "/v1/training/runs/moved", key=cluster.admin, timeout=10)
            if json.loads(body)["stages"][-1]["safe_step"] >= 100:
                break
            time.sleep(0.2)
        atelier("runs", "cancel", "moved", "--data", cluster.folder, cwd=work)
        atelier("runs", "export", "moved", "--data", cluster.folder, cwd=work)
    finally:
        cluster.stop()
    steps.append(digests(stage)[2]["Step"])
    atelier("train", config, "--threads", "2", cwd=work)
    return [digests(os.path.join(work, "runs", "toy", name)) for name in STAGES], steps


def measured(folder, silos):
    """Prints the step rate of a long stage in a cluster, and for how long its step stands still, as the API shows it
    once a second, when silos are killed or stopped."""
    work = workplace(folder, "measured")
    cluster = Cluster(os.path.join(folder, "measured-cluster"), silos=silos, options=["--threads", "1"])
    cluster.start()

    def stage():
        status, body = cluster.call("GET", "/v1/training/runs/long", key=cluster.admin, timeout=5)
        return json.loads(body)["stages"][-1] if status == 200 else None

    def watch(seconds):
        """Steps that passed, the longest time without a new one, and the number of trainers at the end."""
        begun = last = time.monotonic()
        longest, first, step, seen = 0, None, None, None
        while time.monotonic() - begun < seconds:
            seen = stage() or seen
            if seen and seen["step"] != step:
                first, step = (seen["step"] if first is None else first), seen["step"]
                longest, last = max(longest, time.monotonic() - last), time.monotonic()
            time.sleep(0.05)
        longest = max(longest, time.monotonic() - last)
        return step - first, longest, len([one for one in seen["trainers"] if one["shards"]])

    try:
        atelier("runs", "submit", os.path.join(ROOT, "configs", "toy", STAGES[0] + ".yaml"), "--id", "long", "--data",
                cluster.folder, "trainer.max_duration=100000ba", cwd=work)
        while not (seen := stage()) or seen["step"] < 10 or len(seen["trainers"]) < silos:
            time.sleep(0.2)
        watch(10)
        steps, longest, trainers = watch(20)
        print(f"{trainers} trainers: {steps / 20:.2f} steps/s, longest pause {longest:.1f} s")
        for name, which, how in [("kill -9 of the newest silo", -1, signal.SIGKILL), ("SIGTERM", -1, signal.SIGTERM),
                                 ("kill -9 of the oldest silo, with the store", 0, signal.SIGKILL)]:
            os.kill(cluster.children("Silo")[which], how)
            steps, longest, trainers = watch(25)
            print(f"{name}: longest pause {longest:.1f} s, {steps} steps in 25 s, {trainers} trainers at the end")
        atelier("runs", "cancel", "long", "--data", cluster.folder, cwd=work)
    finally:
        cluster.stop()


def in_cluster(folder, options, silos):
    """Trains the same stages in a cluster whose processes are killed. Returns the cluster, the run as the API shows it,
    the number of killed processes, the number of signals of each kind, and the duration."""
    random.seed(options.seed)
    cluster = Cluster(os.path.join(folder, f"cluster-{silos}"), silos=silos, options=["--threads", "1"])
    work = workplace(folder, f"submit-{silos}")
    cluster.start()
    killed, sent, started = 0, {"KILL": 0, "TERM": 0, "all": 0}, time.monotonic()
    try:
        atelier("runs", "submit", os.path.join(ROOT, "configs", "toy"), "--id", "toy", "--data", cluster.folder,
                cwd=work)
        next_kill, last = time.monotonic() + options.every, ""
        while True:
            status, body = cluster.call("GET", "/v1/training/runs/toy", key=cluster.admin, timeout=10)
            run = json.loads(body) if status == 200 else None
            if run and run["status"] != "running":
                return cluster, run, killed, sent, time.monotonic() - started
            if run:
                stage = run["stages"][-1]
                line = (f"{stage['name']} {stage['step']}/{stage['steps']} safe step {stage['safe_step']} "
                        f"world {stage['world']} trainers {len(stage['trainers'])} {stage['trouble'] or ''}")
                if line != last and int(time.monotonic()) % 5 == 0:
                    print(f"{time.monotonic() - started:7.1f} {line}", flush=True)
                    last = line
            if killed < options.kills and time.monotonic() >= next_kill:
                silos = cluster.children("Silo")
                if silos:
                    how = random.choices(["KILL", "TERM", "all"], [6, 3, 1])[0]
                    for process in silos if how == "all" else [random.choice(silos)]:
                        os.kill(process, signal.SIGTERM if how == "TERM" else signal.SIGKILL)
                        killed += 1
                    sent[how] += 1
                next_kill = time.monotonic() + options.every * random.uniform(0.5, 1.5)
            if time.monotonic() - started > options.limit:
                sys.exit(f"the run is not done after {options.limit} s: {last}; see {cluster.folder}.log")
            time.sleep(0.5)
    finally:
        cluster.stop()


def compare(cluster, run, trained):
    """Compares the stages of a run with those of `atelier train`, and audits the records of steps. Returns faults."""
    faults = []
    for i, stage in enumerate(run["stages"]):
        print(f"{stage['name']}: world {stage['world']}")
        for threads, stages in trained.items():
            weights, state, _, _ = stages[i]
            print(f"  train, {threads} threads  weights {weights[:16]}  state {state[:16]}")
            if (weights, state) != (stage["weights"], stage["state"]):
                faults.append(f"{stage['name']} differs from train with {threads} threads")
        print(f"  cluster           weights {str(stage['weights'])[:16]}  state {str(stage['state'])[:16]}")
        steps = records(os.path.join(cluster.folder, "blobs"), stage["records"])
        found, in_weights = audit(steps, SCENES, 32)
        faults += [f"{stage['name']}: {fault}" for fault in found]
        expected = next(iter(trained.values()))[i][3]
        differ = [record["step"] for record in steps
                  if abs(record["loss"] - expected.get(record["step"], float("nan"))) > 0]
        if differ or len(steps) != len(expected):
            faults.append(f"{stage['name']}: losses of {len(differ)} of {len(steps)} steps differ, first "
                          f"{differ[:3]}")
        worlds = len({record["world"] for record in steps})
        print(f"  audit             {len(steps)} steps in {worlds} worlds, "
              f"{sum(len(record['samples']) for record in steps)} samples taken, {in_weights} of them in the weights")
    return faults


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--every", type=float, default=12)
    parser.add_argument("--silos", type=int, nargs="+", default=[3])
    parser.add_argument("--move", action="store_true", help="also move a run between train and the cluster")
    parser.add_argument("--measure", action="store_true", help="also measure step rate and recovery")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--lanes", type=int, nargs="+", default=[2], help="numbers of threads for atelier train")
    parser.add_argument("--limit", type=float, default=1800)
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with tempfile.TemporaryDirectory() as folder:
        atelier("data", "precompute", os.path.join(folder, "latents"), "--shapes", str(SCENES), "--size", "64",
                "--model", os.path.join(ROOT, "models", "shapes"), cwd=folder)
        trained = {threads: train(folder, threads) for threads in options.lanes}
        faults = []
        for silos in options.silos:
            cluster, run, killed, sent, took = in_cluster(folder, options, silos)
            print(f"{silos} silos: {run['status']} after {took:.0f} s and {killed} killed silos: {sent}")
            faults += [] if run["status"] == "done" else [f"the run is {run['status']}: {run['stages'][-1]['trouble']}"]
            faults += compare(cluster, run, trained)
        if options.measure:
            measured(folder, options.silos[-1])
        if options.move:
            stages, steps = moved(folder, options.silos[0])
            print(f"moved to the cluster at step {steps[0]}, and back at step {steps[1]}")
            for i, name in enumerate(STAGES):
                print(f"  {name}  weights {stages[i][0][:16]}  state {stages[i][1][:16]}")
                if stages[i][:2] != trained[options.lanes[0]][i][:2]:
                    faults.append(f"{name} differs after the run has moved")
        print("\n".join(["FAULT " + fault for fault in faults])
              or "identical bit for bit; every epoch uses each sample once")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
