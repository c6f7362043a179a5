#!/usr/bin/env python3
"""Upgrades a running cluster from an earlier commit to this checkout and back, one process at a time.

    bench/upgrade.py build       builds the earlier commit, in a worktree under artifacts/upgrade, and this checkout
    bench/upgrade.py expect      draws the pictures and trains the stage undisturbed, by the earlier build
    bench/upgrade.py roll        upgrades and downgrades a cluster that draws and trains meanwhile

    --old COMMIT      the earlier commit; default 000f9d9, the last one before training runs had an API of their own
    --steps N         steps of the training run, 300 by default; it must be open until the end of `roll`
    --dwell SECONDS   how long each mixture of builds is kept at least, 5 by default
    --folder FOLDER   keeps the logs of `roll` there

The cluster is two silos and a gateway with a Redis, a blob folder and a secret. A session, pictures and a training run
begin under the earlier build. Then both silos and the gateway are replaced by those of this checkout (SIGTERM, drain,
start), and afterwards in the same order by the earlier ones, so that each gateway has worked with silos of both builds.
In every mixture a turn is added to the session, pictures and an event stream begin, a tenant with a key is created and
the earlier ones are used. Checks that every picture has the bytes of the undisturbed one, that every stream resumes and
comes to its end, that the session has every turn, and that the run ends with the weights of `atelier train`. A second
run, which begins under this build, waits under the earlier one, which cancels it. Exits with 1 if a promise was broken.

Needs git, the .NET SDK, a redis-server and Python's standard library. Run `build` first. `expect` keeps its results
for `roll`, which otherwise begins with it.
"""
import argparse, base64, hashlib, http.client, json, os, signal, subprocess, sys, tempfile, threading, time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import ground
from ground import BROKEN, ROOT, check, free_port, request, say
from worlds import SCENES, STAGES, digests

OLD = "000f9d9"
AREA = os.path.join(ROOT, "artifacts", "upgrade")
TOY = os.path.join(ROOT, "configs", "toy", STAGES[0] + ".yaml")
ADMIN = "the-administrator-of-the-upgrade-bench"
SPECS = [{"prompt": prompt, "seed": seed, "steps": 40, "previews": 3} for seed, prompt in enumerate([
    "a red star", "a white moon at night", "an orange triangle and a blue ring", "a green square"])]


def program(root, project):
    return os.path.join(root, "artifacts", "cpu", "bin", project, "release", f"Atelier.{project}.dll")


def earlier(options):
    """The worktree of the earlier commit."""
    return os.path.join(AREA, subprocess.run(["git", "rev-parse", "--short", f"{options.old}^{{commit}}"], cwd=ROOT,
                                             check=True, capture_output=True, text=True).stdout.strip())


def build(options):
    root = earlier(options)
    if not os.path.exists(root):
        subprocess.run(["git", "worktree", "prune"], cwd=ROOT, check=True)
        subprocess.run(["git", "worktree", "add", "--detach", root, options.old], cwd=ROOT, check=True)
    for place in (root, ROOT):
        for project in ("Cli", "Gateway"): # Cli also builds Silo.
            subprocess.run(["dotnet", "build", f"src/{project}", "-c", "Release", "-v", "q", "-nodeReuse:false",
                            "-p:TorchBackend=cpu", "-p:RunAnalyzers=false"], cwd=place, check=True)


def built(options):
    """The worktree of the earlier commit, if both builds are there."""
    root = earlier(options)
    for path in (program(place, project) for place in (root, ROOT) for project in ("Cli", "Silo", "Gateway")):
        if not os.path.exists(path):
            sys.exit(f"{path} is missing; run bench/upgrade.py build first.")
    return root


def atelier(root, *arguments, cwd):
    done = subprocess.run(["dotnet", program(root, "Cli"), *arguments], cwd=cwd, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, env={**os.environ, "ATELIER_HOME": root})
    if done.returncode:
        sys.exit(f"atelier {' '.join(arguments)} failed:\n{done.stdout[-2000:]}")


def stage(root, steps):
    """The changes to the toy stage; its data are made by the earlier build."""
    data = os.path.join(AREA, "latents")
    if not os.path.exists(data):
        atelier(root, "data", "precompute", data, "--shapes", str(SCENES), "--size", "64", "--model",
                os.path.join(ROOT, "models", "shapes"), cwd=AREA)
    return [f"dataset.train.datadir={data}", f"trainer.max_duration={steps}ba"]


class Node:
    """A process of the cluster, of either build."""

    def __init__(self, name, project, port, settings, folder):
        self.name, self.project, self.port, self.settings = name, project, port, settings
        self.log, self.process, self.root = os.path.join(folder, name + ".log"), None, None

    def start(self, root):
        self.root = root
        with open(self.log, "ab") as log:
            log.write(f"---- {program(root, self.project)}\n".encode())
            log.flush()
            self.process = subprocess.Popen(["dotnet", program(root, self.project)], cwd=os.path.dirname(self.log),
                                            stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                                            env={**os.environ, **self.settings})

    def wait(self, seconds=90):
        deadline = time.monotonic() + seconds
        while request(self.port, "GET", "/health/ready", timeout=2)[0] != 200:
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"{self.name} is not ready; see {self.log}")
            time.sleep(0.1)

    def roll(self, root):
        """Replaces the process by one of another build."""
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(90)
        check(f"{self.name} ends by SIGTERM with exit code 0: {code}", code == 0)
        self.start(root)
        self.wait()

    def kill(self):
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait(30)


class Cluster:
    """Two silos and a gateway with a Redis; the processes may be of different builds."""

    def __init__(self, folder):
        redis, port = free_port(), free_port()
        common = {"Store__Redis": f"127.0.0.1:{redis}",
                  "Cluster__Secret": base64.b64encode(os.urandom(32)).decode()}
        self.redis = subprocess.Popen(
            ["redis-server", "--port", str(redis), "--bind", "127.0.0.1", "--dir", folder, "--appendonly", "yes",
             "--appendfsync", "always", "--save", ""], stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
        self.silos = [self.silo(folder, i, common) for i in range(2)]
        self.gateway = Node("gateway", "Gateway", port, {
            **common, "Gateway__Port": str(port), "Gateway__AdminKey": ADMIN}, folder)
        self.nodes, self.answers, self.key = [*self.silos, self.gateway], {}, None

    @staticmethod
    def silo(folder, i, common):
        port = free_port()
        return Node(f"silo-{i}", "Silo", port, {
            **common, "Silo__Name": f"silo-{i}", "Silo__Roles": "control,inference,training",
            "Silo__HttpPort": str(port), "Silo__Port": str(free_port()), "Silo__ProxyPort": str(free_port()),
            "Models__Folders__0": os.path.join(ROOT, "models", "shapes"), "Device__Threads": "1",
            "Pool__HoldTime": "00:00:05",
            "Blobs__Folder": os.path.join(folder, "blobs"), "ModelCache__Folder": os.path.join(folder, "models"),
            "TrainingData__CacheFolder": os.path.join(folder, "data")}, folder)

    def start(self, root):
        for node in self.nodes:
            node.start(root)
        for node in self.nodes:
            node.wait()
        self.key = self.tenant("first")

    def stop(self):
        for node in self.nodes:
            node.kill()
        self.redis.kill()
        self.redis.wait()

    def call(self, method, path, body=None, key=None, patience=60):
        """Calls until an answer below 500 comes; counts the others, and gives up after a while."""
        deadline = time.monotonic() + patience
        while True:
            status, answer = request(self.gateway.port, method, path, body, key or self.key)
            self.answers[status] = self.answers.get(status, 0) + 1
            if 0 < status < 500 and status != 429:
                return status, answer
            if status == 500:
                say(f"   500 of {method} {path}: {answer[:200]}")
            if time.monotonic() > deadline:
                return status, answer
            time.sleep(0.2)

    def read(self, path, key=None):
        status, answer = self.call("GET", path, key=key)
        return json.loads(answer) if status == 200 else {}

    def tenant(self, name):
        """Creates a tenant and returns a key of it."""
        assert self.call("PUT", f"/v1/admin/tenants/{name}", {"requests_per_minute": 100000}, ADMIN)[0] == 200
        status, answer = self.call("POST", f"/v1/admin/tenants/{name}/keys", {"label": "bench"}, ADMIN)
        assert status in (200, 201), (status, answer)
        return json.loads(answer)["key"]

    def phase(self, generation, key=None):
        return self.read(f"/v1/generations/{generation}", key).get("phase")

    def draw(self, generation, spec, path="/v1/generations", key=None):
        """Submits a picture; an answer that was lost is asked for again with the same id."""
        status, answer = self.call("POST", path, {"id": generation, **spec}, key)
        check(f"{generation} is accepted: {status} {answer[:200] if status != 202 else ''}", status == 202)

    def digest(self, generation, key=None, patience=240):
        """The digest of a picture, once it is drawn."""
        deadline = time.monotonic() + patience
        while (phase := self.phase(generation, key)) not in ("done", "failed", "cancelled"):
            if time.monotonic() > deadline:
                break
            time.sleep(0.3)
        if phase != "done":
            return f"{phase}: {self.read(f'/v1/generations/{generation}', key)}"
        return hashlib.sha256(self.call("GET", f"/v1/generations/{generation}/picture", key=key)[1]).hexdigest()

    def run(self, name):
        return self.read(f"/v1/training/runs/{name}", ADMIN)


class Watch(threading.Thread):
    """Follows a generation's events over every gateway and silo, as a client with Last-Event-ID does."""

    def __init__(self, cluster, generation):
        super().__init__(daemon=True)
        self.cluster, self.generation, self.seen, self.streams = cluster, generation, [], 0
        self.start()

    def run(self):
        deadline = time.monotonic() + 300
        while "done" not in [name for _, name in self.seen] and time.monotonic() < deadline:
            self.follow()
            time.sleep(0.3)

    def follow(self):
        connection = http.client.HTTPConnection("127.0.0.1", self.cluster.gateway.port, timeout=60)
        headers = {"Authorization": "Bearer " + self.cluster.key}
        if self.seen:
            headers["Last-Event-ID"] = self.seen[-1][0]
        try:
            connection.request("GET", f"/v1/generations/{self.generation}/events", headers=headers)
            answer = connection.getresponse()
            self.streams += answer.status == 200
            name = number = None
            for line in answer if answer.status == 200 else ():
                field, _, value = line.decode().rstrip("\n").partition(": ")
                name, number = (value if field == "event" else name), (value if field == "id" else number)
                if not field and number is not None:
                    self.seen.append((number, name))
                    name = number = None
        except (OSError, http.client.HTTPException):
            pass
        finally:
            connection.close()


def expect(options):
    """Digests of the pictures and of the weights, by an earlier build that nothing disturbs."""
    root = built(options)
    file = os.path.join(AREA, f"expected-{os.path.basename(root)}-{options.steps}.json")
    if os.path.exists(file):
        return json.load(open(file))
    expected = {}
    with tempfile.TemporaryDirectory(prefix="atelier-upgrade-") as folder:
        work = os.path.join(folder, "train")
        os.mkdir(work)
        atelier(root, "train", TOY, "--threads", "2", *stage(root, options.steps), "trainer.save_folder=run", cwd=work)
        expected["weights"], expected["state"], _ = digests(os.path.join(work, "run"))
        say(f"train: weights {expected['weights'][:16]}, state {expected['state'][:16]}")
        cluster = Cluster(folder)
        try:
            cluster.start(root)
            for i, spec in enumerate(SPECS):
                cluster.draw(f"alone-{i}", spec)
                expected[str(i)] = cluster.digest(f"alone-{i}")
                say(f"picture {i}: {expected[str(i)][:16]}")
        finally:
            cluster.stop()
    json.dump(expected, open(file, "w"))
    return expected


class Work:
    """What a cluster is asked for while it is upgraded, and whether it was done."""

    def __init__(self, cluster, expected):
        self.cluster, self.expected, self.drawn, self.turns, self.watches = cluster, expected, [], [], []
        self.keys, self.others = {}, []
        status, _ = cluster.call("POST", "/v1/sessions", {"id": "talk"})
        check(f"a session begins: {status}", status == 201)

    def add(self, mixture):
        """Adds pictures, a stream, a turn of the session, and a tenant with a picture of its own."""
        for i, spec in enumerate(SPECS):
            self.cluster.draw(f"{mixture}-{i}", spec)
            self.drawn.append((f"{mixture}-{i}", i))
        self.watches.append(Watch(self.cluster, f"{mixture}-0"))
        turn, spec = f"{mixture}-turn", len(self.turns) % len(SPECS)
        self.cluster.draw(turn, SPECS[spec], "/v1/sessions/talk/generations")
        self.turns.append(turn)
        self.drawn.append((turn, spec))
        self.keys[mixture] = self.cluster.tenant(mixture)
        for name, key in self.keys.items():
            self.others.append((f"{name}-{mixture}", key))
            self.cluster.draw(f"{name}-{mixture}", {**SPECS[1], "steps": 1}, key=key)

    def finish(self):
        wrong = [(generation, found) for generation, i in self.drawn
                 if (found := self.cluster.digest(generation)) != self.expected[str(i)]]
        check(f"{len(self.drawn)} pictures have the bytes of an undisturbed cluster's; others: {wrong}", not wrong)
        history = [one["id"] for one in self.cluster.read("/v1/sessions/talk/generations?count=100").get("items", [])]
        check(f"the session has its {len(self.turns)} turns in order: {history}",
              history == self.turns)
        lost = [(one, phase) for one, key in self.others if (phase := self.cluster.phase(one, key)) != "done"]
        check(f"{len(self.others)} pictures of {len(self.keys)} other tenants are done; not: {lost}", not lost)
        for watch in self.watches:
            watch.join(60)
            numbers = [number for number, _ in watch.seen]
            whole = len(set(numbers)) == len(numbers) and [name for _, name in watch.seen][-1:] == ["done"]
            check(f"the stream of {watch.generation} has {len(numbers)} events, each once, up to its end, in "
                  f"{watch.streams} connections", whole)


def roll(options):
    root, expected = built(options), expect(options)
    folder = options.folder or tempfile.mkdtemp(prefix="atelier-upgrade-")
    os.makedirs(folder, exist_ok=True)
    cluster = Cluster(folder)
    overrides = stage(root, options.steps)

    def submit(name):
        status, answer = cluster.call("POST", "/v1/training/runs", {"id": name, "stages": [{
            "configuration": open(TOY).read(),
            "overrides": [*overrides, f"trainer.save_folder={folder}/{name}-run"]}]}, ADMIN)
        check(f"the run {name} is accepted: {status} {answer[:200] if status != 202 else ''}", status == 202)

    def dwell(mixture, least=2):
        """Keeps a mixture of builds for a while; the run must advance, by the trainers of so many silos."""
        before, trainers, last = stage_of("begun")["step"], set(), {}
        begin = time.monotonic()
        while (passed := time.monotonic() - begin) < options.dwell or passed < 60 and (
                len(trainers) < least or last["step"] <= before):
            last = stage_of("begun")
            trainers |= {one["trainer"].split("/")[0] for one in last["trainers"] if one["shards"]}
            time.sleep(1)
        check(f"{mixture}: the run advances from step {before} to {last['step']}, by {sorted(trainers)}, in "
              f"{passed:.0f} s; {last['trouble'] or 'no trouble'}", last["step"] > before and len(trainers) >= least)

    def stage_of(name):
        return cluster.run(name).get("stages", [{"step": -1, "trainers": [], "trouble": "no answer"}])[-1]

    def until(what, condition, seconds=60):
        deadline = time.monotonic() + seconds
        while not condition() and time.monotonic() < deadline:
            time.sleep(0.5)
        check(what, condition())

    try:
        cluster.start(root)
        work = Work(cluster, expected)
        submit("begun")
        dwell("old")
        for mixture, node, to in [
                ("mixed-up", cluster.silos[0], ROOT), ("new-silos", cluster.silos[1], ROOT),
                ("new", cluster.gateway, ROOT), ("mixed-down", cluster.silos[0], root),
                ("old-silos", cluster.silos[1], root), ("old-again", cluster.gateway, root)]:
            work.add("before-" + mixture)
            node.roll(to)
            say(f"{mixture}: {node.name} is replaced")
            dwell(mixture, 1 if mixture == "mixed-down" else 2)
            if mixture == "new":
                submit("late")
                until("a run begins under this build", lambda: stage_of("late")["step"] > 0)
        work.add("last")
        late = stage_of("late")
        until(f"it waits under the earlier build: {late['trouble']}",
              lambda: stage_of("late")["trouble"] and stage_of("late")["step"] == late["step"], 5)
        status, answer = cluster.call("DELETE", "/v1/training/runs/late", key=ADMIN)
        until(f"it is cancelled by the earlier build: {status} {answer[:200]}",
              lambda: cluster.run("late").get("status") == "cancelled", 10)
        check(f"the run is still open at the end: {(run := cluster.run('begun')).get('status')}",
              run.get("status") == "running")
        work.finish()
        deadline = time.monotonic() + options.limit
        while (run := cluster.run("begun")).get("status") == "running" and time.monotonic() < deadline:
            time.sleep(1)
        last = (run.get("stages") or [{}])[-1]
        check(f"the run ends: {run.get('status')} at step {last.get('step')} of world {last.get('world')}",
              run.get("status") == "done")
        check(f"weights {str(last.get('weights'))[:16]} and state {str(last.get('state'))[:16]} are those of train",
              (last.get("weights"), last.get("state")) == (expected["weights"], expected["state"]))
        say(f"answers by status: {dict(sorted(cluster.answers.items()))}")
        check("no answer has status 500", 500 not in cluster.answers)
    finally:
        cluster.stop()
        say(f"logs: {folder}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["build", "expect", "roll"])
    parser.add_argument("--old", default=OLD)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--dwell", type=float, default=5)
    parser.add_argument("--limit", type=float, default=600)
    parser.add_argument("--folder")
    options = parser.parse_args()
    ground.START = time.monotonic()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    os.makedirs(AREA, exist_ok=True)
    {"build": build, "expect": expect, "roll": roll}[options.what](options)
    sys.exit(1 if BROKEN else 0)


if __name__ == "__main__":
    main()
