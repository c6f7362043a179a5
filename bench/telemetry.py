#!/usr/bin/env python3
"""Measures what telemetry costs a picture: CPU-seconds with all of it and with none, as a mean difference with its 95 %
confidence interval. Run it while nothing else runs, after `./atelier up` or `./atelier test` has built the programs:

    bench/telemetry.py [--turns N] [--each N] [--ratio R]

    --turns N     turns of each variant, 9 by default; the order within a pair of turns alternates
    --each N      pictures per turn, 60 by default
    --ratio R     the share of traces that is sampled, 0.1 by default

With telemetry, silo and gateway send traces, metrics and logs by OTLP to a collector that discards them, their metrics
are scraped every 5 s, and their logs are JSON. Without, they have neither a collector nor a port for metrics, and logs
are text. Metrics are sent every 5 s instead of every 60 s, so that each turn has its part of them.

Two clusters of one silo and one gateway run side by side and draw in turns. User and system time of their processes are
counted; collector and scraper are in this process and are not. Prints one line per turn, and what the collector got;
ends with exit code 1 if it did not get everything. Needs only Python's standard library.
"""
import argparse, base64, collections, http.server, json, os, secrets, signal, subprocess, sys, tempfile, threading, time
import urllib.request

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from cost import pictures
from ground import ROOT, Cluster, free_port

SCRAPE_SECONDS, START_SECONDS = 5, 120


class Collector(http.server.BaseHTTPRequestHandler):
    """Accepts what OTLP sends over HTTP, and counts requests and bytes by path."""

    protocol_version = "HTTP/1.1"
    requests, bytes = collections.Counter(), collections.Counter()

    def do_POST(self):
        size = len(self.rfile.read(int(self.headers["Content-Length"])))
        self.requests[self.path] += 1
        self.bytes[self.path] += size
        self.send_response(200)
        self.send_header("Content-Type", "application/x-protobuf")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


class Pair(Cluster):
    """One silo and one gateway, without a supervisor. `up` is the gateway, so that its CPU time is counted as well."""

    def __init__(self, folder, environment, has_metrics):
        super().__init__(folder)
        self.extra, self.has_metrics, self.silo, self.scrapes = environment, has_metrics, None, 0
        self.stopped = threading.Event()

    def start(self):
        os.makedirs(self.folder)
        self.admin = secrets.token_hex(20)
        silo, proxy, http_port, *metrics = [free_port() for _ in range(5)]
        common = {
            **os.environ, **self.extra, "Cluster__Secret": base64.b64encode(secrets.token_bytes(32)).decode(),
            "Metrics__Address": "127.0.0.1",
        }
        self.silo = self.run("Silo", {
            **common, "Silo__Name": "silo", "Silo__Address": "127.0.0.1", "Silo__Roles": "control,inference",
            "Silo__Port": silo, "Silo__ProxyPort": proxy, "Silo__HttpPort": http_port, "Device__Threads": 1,
            "Blobs__Folder": os.path.join(self.folder, "blobs"), "Store__Folder": os.path.join(self.folder, "store"),
            "ModelCache__Folder": os.path.join(self.folder, "models"),
            "Models__Folders__0": os.path.join(ROOT, "models", "shapes"),
            "Metrics__Port": metrics[0] if self.has_metrics else 0,
        })
        self.up = self.run("Gateway", {
            **common, "Gateway__Address": "127.0.0.1", "Gateway__Port": self.port, "Gateway__AdminKey": self.admin,
            "Cluster__Silos__0": f"127.0.0.1:{proxy}", "Metrics__Port": metrics[1] if self.has_metrics else 0,
        })
        deadline = time.monotonic() + START_SECONDS
        while self.call("PUT", "/v1/admin/tenants/bench", {"requests_per_minute": 100_000}, self.admin)[0] != 200:
            if time.monotonic() > deadline or self.silo.poll() is not None or self.up.poll() is not None:
                raise SystemExit(f"the cluster did not come up; see {self.folder}/*.log")
            time.sleep(0.2)
        self.key = self.tenant("bench", requests_per_minute=100_000)
        if self.has_metrics:
            threading.Thread(target=self.scrape, args=(metrics,), daemon=True).start()

    def run(self, name, environment):
        program = os.path.join(ROOT, "artifacts", "cpu", "bin", name, "release", f"Atelier.{name}.dll")
        with open(os.path.join(self.folder, f"{name}.log"), "wb") as log:
            return subprocess.Popen(
                ["dotnet", program], stdout=log, stderr=subprocess.STDOUT,
                env={key: str(value) for key, value in environment.items()})

    def scrape(self, ports):
        while not self.stopped.wait(SCRAPE_SECONDS):
            for port in ports[:2]:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=SCRAPE_SECONDS) as answer:
                    self.scrapes += b"atelier_" in answer.read()

    def children(self, name):
        return [self.silo.pid]

    def stop(self):
        self.stopped.set()
        for process in (self.up, self.silo):
            if process and process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in (self.up, self.silo):
            if process:
                process.wait(60)

    def json_lines(self):
        """The number of lines in the logs; fails if one of them is not JSON."""
        lines = []
        for name in ("Silo", "Gateway"):
            with open(os.path.join(self.folder, f"{name}.log"), encoding="utf-8") as log:
                lines += [json.loads(line)["timestamp"] for line in log]
        return len(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=9)
    parser.add_argument("--each", type=int, default=60)
    parser.add_argument("--ratio", type=float, default=0.1)
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Collector)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    telemetry = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{server.server_port}",
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf", "OTEL_METRIC_EXPORT_INTERVAL": "5000",
        "OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": str(options.ratio),
        "Logging__Console__FormatterName": "json",
    }
    with tempfile.TemporaryDirectory() as folder:
        with_it = Pair(os.path.join(folder, "with"), telemetry, has_metrics=True)
        without = Pair(os.path.join(folder, "without"), {}, has_metrics=False)
        pictures({"with telemetry": with_it, "without telemetry": without}, options.turns, options.each)
        lines = with_it.json_lines()
    paths = ("/v1/traces", "/v1/metrics", "/v1/logs")
    print(", ".join(f"{path}: {Collector.requests[path]} requests, {Collector.bytes[path]} bytes" for path in paths)
          + f"; {with_it.scrapes} scrapes, {lines} lines of JSON")
    if not all(Collector.requests[path] for path in paths) or not with_it.scrapes or not lines:
        sys.exit("a part of the telemetry was missing, so this does not measure its cost")


if __name__ == "__main__":
    main()
