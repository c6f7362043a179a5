#!/usr/bin/env python3
"""Draws what the chart's dashboards show: runs a cluster under `./atelier up` and a load, scrapes it with a real
Prometheus, and draws the results of panels' queries as an SVG.

    bench/dashboards.py OUT.svg [--minutes N]     docs/dashboards.svg was made with 5 minutes, the default

Two silos draw for two tenants of weights 1 and 4 and train the toy stage; after half of the time one silo is killed
with -9. Needs Prometheus (Debian's package) and, otherwise, only Python's standard library. Build first, with
`./atelier test` or `up`.
"""
import argparse, html, json, math, os, signal, subprocess, sys, tempfile, threading, time, urllib.parse, urllib.request

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from ground import ROOT, Cluster, free_port

# Dashboard and title of the panels that are drawn.
PANELS = [
    ("serving", "Requests at the gateways"), ("serving", "Waiting work"),
    ("serving", "Wait for a worker, 95th percentile"), ("serving", "Predicted time of waiting work by model"),
    ("serving", "Evaluations"), ("serving", "Batch fill"), ("serving", "Busy share of devices"),
    ("serving", "Lost work"), ("tenants", "Pictures by class of tenants"), ("training", "Step time"),
    ("cluster", "Silos that receive requests"), ("cluster", "Memory"),
]
UNITS = {"percentunit": (100, " %"), "bytes": (1 / 2**20, " MiB"), "s": (1, " s")}
RATES = {"reqps": "/s", "cps": "/s", "ops": "/s"}
COLORS = ["#1f6feb", "#d1495b", "#2e933c", "#8e44ad", "#e08e0b", "#11809c"]
STEP, WIDTH, HEIGHT, COLUMNS, TOP = 5, 390, 210, 2, 66


class Prometheus:
    """A server that scrapes ports of this machine."""

    def __init__(self, folder, ports):
        self.port = free_port()
        config = os.path.join(folder, "prometheus.yml")
        targets = ", ".join(f"'127.0.0.1:{port}'" for port in ports)
        with open(config, "w") as file:
            file.write("global: {scrape_interval: 2s, scrape_timeout: 2s}\n"
                       f"scrape_configs: [{{job_name: atelier, static_configs: [{{targets: [{targets}]}}]}}]\n")
        self.process = subprocess.Popen(
            ["prometheus", f"--config.file={config}", f"--storage.tsdb.path={folder}/data", "--log.level=warn",
             f"--web.listen-address=127.0.0.1:{self.port}"])

    def range(self, query, start, end):
        """The series of a query: pairs of labels and points."""
        arguments = urllib.parse.urlencode({"query": query, "start": start, "end": end, "step": STEP})
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/api/v1/query_range?{arguments}") as answer:
            return [
                (one["metric"], [(t, float(value)) for t, value in one["values"] if value not in ("NaN", "+Inf")])
                for one in json.load(answer)["data"]["result"]]

    def stop(self):
        self.process.terminate()
        self.process.wait(30)


def panel(board, title):
    file = os.path.join(ROOT, "helm", "atelier", "dashboards", board + ".json")
    return next(one for one in json.load(open(file, encoding="utf-8"))["panels"] if one["title"] == title)


def client(cluster, key, end, pause):
    """A client that draws pictures, one after another, until the time."""
    number = 0
    while time.time() < end:
        number += 1
        cluster.call(
            "POST", "/v1/images/generations",
            {"prompt": "a red star", "steps": 8, "n": 2, "seed": number, "response_format": "url"}, key)
        time.sleep(pause)


def train(cluster, folder):
    """Submits the toy stage, for more steps than there is time."""
    latents = os.path.join(folder, "latents")
    subprocess.run(
        ["dotnet", os.path.join(ROOT, "artifacts/cpu/bin/Cli/release/Atelier.Cli.dll"), "data", "precompute", latents,
         "--shapes", "200", "--size", "64", "--model", os.path.join(ROOT, "models/shapes")],
        check=True, stdout=subprocess.DEVNULL, env={**os.environ, "ATELIER_HOME": ROOT})
    stage = {
        "configuration": open(os.path.join(ROOT, "configs/toy/1_masked.yaml"), encoding="utf-8").read(),
        "overrides": [f"dataset.train.datadir={latents}", f"trainer.save_folder={folder}/run",
                      "trainer.max_duration=100000ba"]}
    status, body = cluster.call("POST", "/v1/training/runs", {"id": "toy", "stages": [stage]}, cluster.admin)
    assert status in (200, 201, 202), (status, body)


def run(minutes):
    """Returns the panels with the series of their queries, and the times of begin, kill and end."""
    folder = tempfile.mkdtemp()
    cluster = Cluster(os.path.join(folder, "cluster"), silos=2)
    cluster.start()
    ports = [cluster.metrics_port, *(ports["metricsPort"] for ports in cluster.ports)]
    prometheus = Prometheus(folder, ports)
    try:
        keys = [cluster.tenant("one"), cluster.tenant("four", weight=4)]
        train(cluster, folder)
        start = time.time()
        end = start + 60 * minutes
        threads = [threading.Thread(target=client, args=(cluster, key, start + 0.85 * (end - start), pause))
                   for key in keys for pause in (0.5, 1, 2, 3)]
        time.sleep(0.1 * (end - start))
        for thread in threads:
            thread.start()
        time.sleep(max(0, start + 0.5 * (end - start) - time.time()))
        killed = time.time()
        os.kill(cluster.children("Silo")[0], signal.SIGKILL)
        for thread in threads:
            thread.join()
        time.sleep(max(0, end - time.time()))
        shown = []
        for board, title in PANELS:
            one = panel(board, title)
            series = []
            for target in one["targets"]:
                query = target["expr"].replace("$namespace", ".*").replace("$__rate_interval", "30s")
                for labels, points in prometheus.range(query, start, time.time()):
                    name = target["legendFormat"]
                    for label, value in labels.items():
                        name = name.replace("{{" + label + "}}", value)
                    series.append((name.strip(), points))
            shown.append((one, series))
        return shown, start, killed, time.time()
    finally:
        prometheus.stop()
        cluster.stop()


def ceiling(value):
    """The next round number."""
    if value <= 0:
        return 1
    unit = 10.0 ** math.floor(math.log10(value))
    return unit * next(step for step in (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10) if unit * step >= value * 0.999)


def plot(x, y, one, series, start, killed, end):
    defaults = one["fieldConfig"]["defaults"]
    factor, unit = UNITS.get(defaults["unit"], (1, RATES.get(defaults["unit"], "")))
    stacked = defaults["custom"]["stacking"]["mode"] == "normal"
    left, right, top, bottom = x + 46, x + WIDTH - 20, y + 26, y + HEIGHT - 46
    sums, drawn = {}, []
    for name, points in series:
        line = []
        for t, value in points:
            value = value * factor + (sums.get(t, 0) if stacked else 0)
            sums[t] = value
            line.append((t, value))
        drawn.append((name, line))
    most = ceiling(max((value for _, line in drawn for _, value in line), default=1))

    def at(t, value):
        return (f"{left + (right - left) * (t - start) / (end - start):.1f},"
                f"{bottom - (bottom - top) * min(1, max(0, value / most)):.1f}")

    out = [f'<text x="{x + 8}" y="{y + 16}" font-weight="bold">{html.escape(one["title"])}</text>']
    for part in range(3):
        value, height = most * part / 2, bottom - (bottom - top) * part / 2
        out.append(f'<line x1="{left}" x2="{right}" y1="{height:.1f}" y2="{height:.1f}" stroke="#ddd"/>')
        out.append(f'<text x="{left - 4}" y="{height + 4:.1f}" text-anchor="end">{value:.3g}{unit}</text>')
    for minute in range(int((end - start) / 60) + 1):
        place = at(start + 60 * minute, 0).split(",")[0]
        out.append(f'<text x="{place}" y="{bottom + 14}" text-anchor="middle">{minute} min</text>')
    place = at(killed, 0).split(",")[0]
    out.append(f'<line x1="{place}" x2="{place}" y1="{top}" y2="{bottom}" stroke="#999" stroke-dasharray="3 3"/>')
    legend, lines = left, []
    for index, (name, line) in enumerate(drawn):
        color = COLORS[index % len(COLORS)]
        # A series that begins again after a gap is drawn in parts.
        part = []
        for point in [*line, None]:
            if part and (point is None or point[0] - part[-1][0] > 1.5 * STEP):
                lines.append(f'<polyline fill="none" stroke="{color}" stroke-width="1.5" points="'
                             + " ".join(at(*one) for one in part) + '"/>')
                part = []
            part += [point] if point else []
        if legend < right - 20:
            out.append(f'<text x="{legend}" y="{bottom + 32}" fill="{color}">{html.escape(name)}</text>')
            legend += 12 + 6 * len(name)
    return out + lines[::-1]  # Where series are stacked, the first one must not be hidden.


def picture(shown, start, killed, end):
    rows = -(-len(shown) // COLUMNS)
    width, height = WIDTH * COLUMNS, TOP + HEIGHT * rows
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" '
           'font-size="11">', f'<rect width="{width}" height="{height}" fill="white"/>',
           '<text x="8" y="20" font-size="14" font-weight="bold">Panels of the dashboards</text>',
           '<text x="8" y="38">Drawn by bench/dashboards.py, not by Grafana, from a Prometheus that scraped a cluster: '
           'a gateway and two silos</text>',
           f'<text x="8" y="53">on {os.cpu_count()} cores, which draw for two tenants and train. At the dashed line a '
           'silo was killed with -9.</text>']
    for index, (one, series) in enumerate(shown):
        out += plot(WIDTH * (index % COLUMNS), TOP + HEIGHT * (index // COLUMNS), one, series, start, killed, end)
    return "\n".join([*out, "</svg>", ""])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out")
    parser.add_argument("--minutes", type=float, default=5)
    options = parser.parse_args()
    shown, *times = run(options.minutes)
    with open(options.out, "w", encoding="utf-8") as file:
        file.write(picture(shown, *times))
    for one, series in shown:
        print(f"{one['title']}: {len(series)} series")


if __name__ == "__main__":
    main()
