#!/usr/bin/env python3
"""Measures the pool of devices that pictures and training share, and the list of runs.

    bench/pool.py lending [--pictures N] [--silos N]
    bench/pool.py serving [--rounds N] [--seconds N] [--silos N]
    bench/pool.py many [--runs N] [--watches N]

lending: all devices train a toy stage; pictures are requested one at a time, at random times. Prints how long each
picture waits for its first evaluation, beside the time of a shard, and what training loses. serving: pictures arrive at
random at half of the devices' capacity, by turns with and without a run beside them. many: lists a number of runs, and
lets clients watch one run; prints the times of the list, and whether each client got each event once.
Build first with ./atelier test or ./atelier up. Needs only Python's standard library.
"""
import argparse, http.client, json, os, random, statistics, sys, tempfile, threading, time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from distribution import TOY, atelier, toy


def events(cluster, path, key, seconds=60):
    """The events of a stream, each as (name, id, data), until it ends."""
    connection = http.client.HTTPConnection("127.0.0.1", cluster.port, timeout=seconds)
    connection.request("GET", path, headers={"Authorization": "Bearer " + key})
    answer = connection.getresponse()
    assert answer.status == 200, answer.read()
    name = number = None
    for line in answer:
        field, _, value = line.decode().rstrip("\n").partition(": ")
        if field == "event":
            name = value
        elif field == "id":
            number = value
        elif field == "data":
            yield name, number, json.loads(value)
            name = number = None


def percentile(values, share):
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def draw(cluster, name, steps):
    """Draws one picture. Returns the seconds from its request to its first step, and to its end."""
    started = time.monotonic()
    status, answer = cluster.call("POST", "/v1/generations", {
        "id": name, "prompt": "a white moon at night", "steps": steps, "previews": 0})
    assert status == 202, answer
    first = None
    for event, _, data in events(cluster, f"/v1/generations/{name}/events", cluster.key):
        first = first or (time.monotonic() - started if event == "step" or data.get("step", 0) > 0 else None)
    assert cluster.view(name)[0]["phase"] == "done"
    return first, time.monotonic() - started


def steps_in(run, seconds):
    """Steps that a run makes in this time, as the API shows them, which it does once a second."""
    step = run.view()["step"]
    time.sleep(seconds)
    return run.view()["step"] - step


def lending(folder, options):
    cluster, run = toy(folder, "lending", options.silos)
    try:
        run.rate(30, options.silos)
        draw(cluster, "warm", 2)
        time.sleep(5)
        waits, took, alone, beside, window = [], [], [], [], 8
        for i in range(options.pictures):
            # Windows with and without a picture alternate, because the rate drifts.
            alone.append(steps_in(run, window))
            step, started = run.view()["step"], time.monotonic()
            time.sleep(random.uniform(0, 2))
            first, whole = draw(cluster, f"lent-{i}", 2)
            waits.append(first)
            took.append(whole)
            time.sleep(max(0, window - (time.monotonic() - started)))
            beside.append((run.view()["step"] - step) * window / (time.monotonic() - started))
        step_time = window / statistics.mean(alone)
        shard = step_time / max(one["shards"] for one in run.view()["trainers"])
        lost = [(without - with_one) * step_time * options.silos for without, with_one in zip(alone, beside)]
        error = statistics.stdev(lost) / len(lost) ** 0.5
        print(f"step {step_time:.3f} s, shard about {shard:.3f} s; first step of a picture after "
              f"{statistics.median(waits):.2f} s (median), {percentile(waits, 0.95):.2f} s (p95) of {len(waits)}")
        print(f"a picture takes {statistics.mean(took):.2f} s; training loses {statistics.mean(lost):.2f} ± "
              f"{1.96 * error:.2f} device-seconds by it, which is "
              f"{100 * statistics.mean(lost) / (window * options.silos):.1f} % of a window of {window} s")
    finally:
        cluster.stop()


def processor_seconds(cluster):
    """User and system time of the cluster's processes so far."""
    total = 0
    for process in [cluster.up.pid, *cluster.children("")]:
        fields = open(f"/proc/{process}/stat").read().rsplit(")", 1)[1].split()
        total += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return total


def serving(folder, options):
    """Poisson arrivals at half of the capacity, with and without a run, by turns."""
    cluster, run = toy(folder, "serving", options.silos)
    steps, arrivals = 10, random.Random(1)
    try:
        run.rate(30, options.silos)
        step_time = 1 / run.rate(60, options.silos)
        shard = step_time / max(one["shards"] for one in run.view()["trainers"])
        control(cluster, "pause")
        alone = statistics.median(draw(cluster, f"alone-{i}", steps)[1] for i in range(10))
        rate = 0.5 * options.silos / alone
        print(f"shard about {shard:.3f} s; a picture of {steps} steps alone takes {alone:.2f} s; {rate:.2f} a second "
              f"are asked for", flush=True)
        results = {"without": [], "with": []}
        for turn in range(2 * options.rounds):
            what = ("without", "with")[turn % 2]
            if what == "with":
                control(cluster, "resume")
                run.rate(30, options.silos)
            first_step, processors, started = run.view()["step"], processor_seconds(cluster), time.monotonic()
            threads, took, lock = [], [], threading.Lock()

            def one(name):
                first, whole = draw(cluster, name, steps)
                with lock:
                    took.append((first, whole))

            while time.monotonic() - started < options.seconds:
                threads.append(threading.Thread(target=one, args=[f"{what}-{turn}-{len(threads)}"]))
                threads[-1].start()
                time.sleep(arrivals.expovariate(rate))
            for thread in threads:
                thread.join()
            used = processor_seconds(cluster) - processors
            made = run.view()["step"] - first_step
            results[what] += took
            print(f"{what} a run: {len(took)} pictures, first step after {percentile([t[0] for t in took], 0.5):.2f} s "
                  f"(median), {percentile([t[0] for t in took], 0.95):.2f} s (p95); whole "
                  f"{percentile([t[1] for t in took], 0.5):.2f}, {percentile([t[1] for t in took], 0.95):.2f} s; "
                  f"{used:.0f} CPU-seconds, {made} steps of training", flush=True)
            if what == "with":
                control(cluster, "pause")
        for index, name in enumerate(["first step", "whole"]):
            without, with_run = (percentile([one[index] for one in results[what]], 0.95) for what in results)
            print(f"{name}, p95: {without:.2f} s without, {with_run:.2f} s with a run, {with_run - without:+.2f} s")
    finally:
        cluster.stop()


def control(cluster, what):
    status, answer = cluster.call(
        "POST", f"/v1/training/runs/serving/{what}", {"now": True} if what == "pause" else None, cluster.admin)
    assert status in (200, 202), answer
    time.sleep(2)


def patiently(cluster, method, path, body=None):
    """Calls as an administrator, again and again while the gateway has too many requests."""
    while (call := cluster.call(method, path, body, cluster.admin))[0] == 429:
        time.sleep(0.1)
    assert call[0] in (200, 202, 204), call[1]


def many(folder, options):
    cluster, run = toy(folder, "many", 1)
    try:
        body = {"stages": [{"configuration": open(TOY).read(), "overrides": [
            f"dataset.train.datadir={folder}/none", f"trainer.save_folder={folder}/none"]}]}
        for i in range(options.runs):
            patiently(cluster, "POST", "/v1/training/runs", {"id": f"many-{i}", **body, "priority": -1})
            patiently(cluster, "DELETE", f"/v1/training/runs/many-{i}")
        times = []
        for _ in range(50):
            started = time.monotonic()
            status, answer = cluster.call("GET", "/v1/training/runs", key=cluster.admin)
            assert status == 200, answer
            times.append(time.monotonic() - started)
            time.sleep(0.05)
        listed = len(json.loads(answer)["data"])
        print(f"list of {listed} runs: {1000 * statistics.median(times):.0f} ms (median), "
              f"{1000 * percentile(times, 0.95):.0f} ms (p95)")
        seen = [[] for _ in range(options.watches)]

        def watch(into):
            for name, number, data in events(cluster, "/v1/training/runs/many/events", cluster.admin, 120):
                if name == "step":
                    into.append(data["step"]["step"])
                if name == "end":
                    return

        watches = [threading.Thread(target=watch, args=[into]) for into in seen]
        for one in watches:
            one.start()
        safe = run.view()["safe_step"]
        while run.view()["safe_step"] < safe + 60:
            time.sleep(0.5)
        run.cancel(folder)
        for one in watches:
            one.join(120)
        once = all(steps == list(range(len(steps))) for steps in seen)
        print(f"{options.watches} watches: {len(seen[0])} steps each, "
              f"{'each once and in order' if once and len({len(steps) for steps in seen}) == 1 else 'NOT EQUAL'}")
    finally:
        cluster.stop()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["lending", "serving", "many"])
    parser.add_argument("--pictures", type=int, default=50)
    parser.add_argument("--silos", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--watches", type=int, default=100)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="atelier-pool-") as folder:
        {"lending": lending, "serving": serving, "many": many}[options.what](folder, options)


if __name__ == "__main__":
    main()
