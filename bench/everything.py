#!/usr/bin/env python3
"""One run through everything: four stages with panels, scores and a publication, while all kinds of processes die.

    bench/everything.py [--kills N] [--every SECONDS] [--silos N] [--down SECONDS] [--seed N]

Trains four tiny stages, each from the result of the one before it, by `atelier train`, and then in a cluster under
`atelier up`: silos are killed (SIGKILL or SIGTERM), once all of them stay down for a while, and once `atelier up` and
all its processes are killed and started again. The run is submitted once. At its end its last checkpoint is published
and draws a picture. Prints the digests of both, and the panels with their scores and
the stages' notes about them. Exits with 1 if a digest differs, a stage has no panel of its result, or the
published model does not draw. Build first with ./atelier test or ./atelier up. Needs only Python's standard library.
"""
import argparse, json, os, random, signal, sys, tempfile, time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from ground import ROOT, Cluster
from worlds import atelier, digests, workplace

STAGES = ["1_masked", "2_unmasked", "3_masked", "4_unmasked"]
PANEL = """
panel:
  encoders: none
  interval: 50ba
  sampling_steps: 4
  guidance_scale: 2
  score: clip
  prompts: [a red circle, a small blue star]
"""


def stages(folder):
    """Four stages: those of configs/toy twice, each from the result of the one before it."""
    made = os.path.join(folder, "stages")
    os.makedirs(made)
    toy = os.path.join(ROOT, "configs", "toy")
    for i, name in enumerate(STAGES):
        text = open(os.path.join(toy, STAGES[i % 2] + ".yaml"), encoding="utf-8").read()
        lines = [line for line in text.splitlines() if line.strip().split(":")[0] not in ("save_folder", "load_path")]
        at = next(i for i, line in enumerate(lines) if line.startswith("trainer:")) + 1
        lines.insert(at, f"  save_folder: runs/{name}")
        if i:
            lines.insert(at, f"  load_path: runs/{STAGES[i - 1]}")
        open(os.path.join(made, name + ".yaml"), "w", encoding="utf-8").write("\n".join(lines) + "\n")
    return made


def with_panels(made, folder):
    """The same stages with panels, which `atelier train` would need encoders for."""
    panels = os.path.join(folder, "stages-with-panels")
    os.makedirs(panels)
    for name in STAGES:
        text = open(os.path.join(made, name + ".yaml"), encoding="utf-8").read()
        open(os.path.join(panels, name + ".yaml"), "w", encoding="utf-8").write(text + PANEL)
    return panels


class Disturbance:
    """What happens to the cluster while it trains, in a fixed order of kinds and at random times."""

    def __init__(self, cluster, options):
        self.cluster, self.options = cluster, options
        self.kills, self.next = 0, time.monotonic() + options.every
        self.events = []

    def happen(self):
        if self.kills >= self.options.kills or time.monotonic() < self.next:
            return
        third = self.options.kills // 3
        if self.kills >= third and "all silos down" not in self.events:
            self.down()
        elif self.kills >= 2 * third and "up killed" not in self.events:
            self.cluster.kill()
            self.events.append("up killed")
            self.kills += 1 + self.options.silos
            self.cluster.start()
        else:
            silos = self.cluster.children("Silo")
            if silos:
                os.kill(random.choice(silos), random.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM]))
                self.kills += 1
        self.next = time.monotonic() + self.options.every * random.uniform(0.5, 1.5)

    def down(self):
        """Kills every silo again and again, so that none is up for a while: `up` starts each one again."""
        until = time.monotonic() + self.options.down
        while time.monotonic() < until:
            for silo in self.cluster.children("Silo"):
                try:
                    os.kill(silo, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            time.sleep(0.1)
        self.kills += self.options.silos
        self.events.append("all silos down")


def in_cluster(folder, made, options):
    cluster = Cluster(os.path.join(folder, "cluster"), silos=options.silos, options=["--threads", "1"])
    work = workplace(folder, "submitted")
    cluster.start()
    try:
        atelier("runs", "submit", made, "--id", "everything", "--data", cluster.folder, cwd=work)
        disturbance, started, last, run = Disturbance(cluster, options), time.monotonic(), "", None
        while True:
            status, body = cluster.call("GET", "/v1/training/runs/everything", key=cluster.admin, timeout=10)
            run = json.loads(body) if status == 200 else None
            if run and run["status"] != "running":
                break
            if run:
                stage = run["stages"][-1]
                line = (f"{stage['name']} {len(run['stages'])} step {stage['step']} world {stage['world']} "
                        f"panels {[panel['step'] for panel in stage['panels']]} {stage['trouble'] or ''}")
                if line != last:
                    print(f"{time.monotonic() - started:7.1f} kills {disturbance.kills} {line}", flush=True)
                    last = line
            disturbance.happen()
            if time.monotonic() - started > options.limit:
                sys.exit(f"the run is not done after {options.limit} s: {last}; see {cluster.folder}.log")
            time.sleep(0.5)
        print(f"{run['status']} after {time.monotonic() - started:.0f} s, {disturbance.kills} kills, "
              f"{', '.join(disturbance.events)}")

        # The panel of the last checkpoint is drawn when the stage is over.
        waiting = time.monotonic() + 180
        while time.monotonic() < waiting and any(
                not stage["panels"] or stage["panels"][-1]["step"] != stage["steps"] for stage in run["stages"]):
            time.sleep(1)
            status, body = cluster.call("GET", "/v1/training/runs/everything", key=cluster.admin, timeout=10)
            run = json.loads(body) if status == 200 else run
        published = atelier("runs", "publish", "everything", "--name", "everything", "--data", cluster.folder, cwd=work)
        print(published.strip())
        body = {"id": "published", "prompt": "a red circle", "model": "everything", "steps": 4}
        for _ in range(120): # A silo fetches the model first.
            cluster.call("POST", "/v1/generations", body)
            if cluster.view("published")[0]["phase"] == "done":
                return run, True
            time.sleep(1)
        return run, False
    finally:
        cluster.stop()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--every", type=float, default=12)
    parser.add_argument("--silos", type=int, default=3)
    parser.add_argument("--down", type=float, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--limit", type=float, default=2400)
    options = parser.parse_args()
    random.seed(options.seed)
    folder = tempfile.mkdtemp(prefix="everything-")
    atelier("data", "precompute", "latents", "--shapes", "500", "--size", "64", "--model",
            os.path.join(ROOT, "models", "shapes"), cwd=folder)
    made = stages(folder)
    alone = workplace(folder, "alone")
    atelier("train", made, "--threads", "2", cwd=alone)
    expected = [digests(os.path.join(alone, "runs", name))[:2] for name in STAGES]
    run, picture = in_cluster(folder, with_panels(made, folder), options)
    faults = []
    for stage, (weights, state) in zip(run["stages"], expected):
        print(f"{stage['name']}: train {weights[:16]} {state[:16]}, cluster {str(stage['weights'])[:16]} "
              f"{str(stage['state'])[:16]}, {stage['world']} worlds, panels "
              f"{[(panel['step'], panel['score']) for panel in stage['panels']]}")
        if (stage["weights"], stage["state"]) != (weights, state):
            faults.append(f"{stage['name']} differs from train")
        if not stage["panels"] or stage["panels"][-1]["step"] != stage["steps"]:
            faults.append(f"{stage['name']} has no panel of its result")
    for note in (note for stage in run["stages"] for note in stage["notes"] if "panel" in note["text"]):
        print(f"  step {note['step']}: {note['text']}")
    if len(run["stages"]) != len(STAGES) or run["status"] != "done":
        faults.append(f"the run is {run['status']} in stage {len(run['stages'])}")
    print(f"the published model {'drew a picture' if picture else 'did not draw'}")
    faults += [] if picture else ["the published model did not draw"]
    for fault in faults:
        print("BROKEN:", fault)
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
