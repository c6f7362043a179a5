#!/usr/bin/env python3
"""Mutation testing: injects one small fault at a time into the sources and checks whether a test notices it.

    bench/mutants.py [--seed N] [--each N] [--rooms NAME ...] [--folder DIR]
    bench/mutants.py --list ...     lists the mutants that would be tried, and builds nothing
    bench/mutants.py --report ...   prints the results so far

Mutants are drawn from the seed, the same number from each room (a folder of the sources, see ROOMS). Each mutant is
compiled in a clone of HEAD and runs against the tests of its own folder, then those of its room, then the whole test
project, until a test fails or the tests time out. A mutant that does not compile, or that compiles to the same bytes,
is replaced by the next one drawn. Results are lines of DIR/SEED.jsonl; if the script is run again, it resumes. Mutants
that survive are printed as changes of a line; docs/testing.md says what was done about them.
"""
import argparse, hashlib, json, os, random, re, signal, subprocess, sys, time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

# For each room: its folder, the project that is built, the test project, and the namespaces whose tests run first
# (empty: all). A folder that is a room itself does not belong to the room that contains it.
ROOMS = {
    "Grains": ("src/Grains", "Grains", "Grains.Tests", []),
    "TrainingGrains": ("src/Grains/Training", "Grains", "Grains.Tests", ["Atelier.Grains.Tests.Training*"]),
    "Gateway": ("src/Gateway", "Gateway", "Gateway.Tests", []),
    "Api": ("src/Silo/Api", "Silo", "Silo.Tests", ["Atelier.Silo.Tests.Api*", "Atelier.Silo.Tests.Cluster*"]),
    "Diffusion": ("src/Model/Diffusion", "Model", "Model.Tests",
                  ["Atelier.Model.Tests.Diffusion*", "Atelier.Model.Tests.Pipeline*"]),
    "Training": ("src/Model/Training", "Model", "Model.Tests", ["Atelier.Model.Tests.Training*"]),
    "TrainingRules": ("src/Training", "Training", "Training.Tests", []),
    "Store": ("src/Silo/Store", "Silo", "Silo.Tests", ["Atelier.Silo.Tests.Store*"]),
    "Hosting": ("src/Silo/Hosting", "Silo", "Silo.Tests", ["Atelier.Silo.Tests.Hosting*", "Atelier.Silo.Tests.Store*"]),
}
STANDARD = ["Grains", "TrainingGrains", "Gateway", "Api", "Diffusion", "Training", "TrainingRules"]

# Left out: guards that the compiler's nullable analysis makes redundant, logging, and lengths of time (tests do not
# assert them).
LEFT_OUT = re.compile(r"ThrowIfNull\(|ObjectDisposedException|ConfigureAwait|\b_?[Ll]og(ger)?\.|\bLog[A-Z]\w*\("
                      r"|SuppressMessage|nameof\(|TimeSpan\.From\w+\(\d")

SWAPS = [
    (r" < ", " <= "), (r" <= ", " < "), (r" > ", " >= "), (r" >= ", " > "), (r" == ", " != "), (r" != ", " == "),
    (r" is null\b", " is not null"), (r" is not null\b", " is null"), (r" && ", " || "), (r" \|\| ", " && "),
    (r" \+ ", " - "), (r" - ", " + "), (r" \* ", " / "), (r" / ", " * "), (r" \+= ", " -= "), (r" -= ", " += "),
    (r"\+\+", "--"), (r"--", "++"), (r"\btrue\b", "false"), (r"\bfalse\b", "true"),
    (r"\bMath\.Min\b", "Math.Max"), (r"\bMath\.Max\b", "Math.Min"), (r"(?<=[(&|=>] )!(?=[\w(])|(?<=\()!(?=[\w(])", ""),
    (r"\.Any\(", ".All("), (r"\.All\(", ".Any("),
]
NUMBER = re.compile(r"(?<![\w.\"'])(\d+)(?![\w.\"'])")
STATEMENT = re.compile(r"^\s+(await )?[\w_][\w_.\[\]?!]*(\(.*\)| [-+*/|&?]?\??= [^{]*|\+\+|--);\s*$"
                       r"|^\s+(continue|return|break);\s*$")
NO_STATEMENT = re.compile(
    r"^\s+(return|throw|using|yield|var|const|public|private|internal|protected|goto|case|base)\b.*[ (]")


def masked(text):
    """The text with comments and the contents of strings replaced by spaces of the same length."""
    pattern = re.compile(r'//[^\n]*|/\*.*?\*/|\$*"""+.*?"""+|[$@]*"(?:\\.|""|[^"\\\n])*"|\'(?:\\.|[^\'\\])\'', re.S)
    return pattern.sub(lambda found: re.sub(r"[^\n]", "\0", found.group()), text)


def mutants_of(path, text):
    """Every mutant of a file: line number, description, and the new line."""
    lines, shown = text.split("\n"), masked(text).split("\n")
    attribute = re.compile(r"^\s*\[")
    for number, (line, code) in enumerate(zip(lines, shown)):
        if not code.strip("\0 ") or attribute.match(code) or LEFT_OUT.search(line) or " const " in code:
            continue
        if re.match(r"^\s*(using|namespace|///|#|case |global )", code):
            continue
        for pattern, instead in SWAPS:
            for found in re.finditer(pattern, code):
                yield number, f"{pattern} -> {instead}", line[:found.start()] + instead + line[found.end():]
        for found in NUMBER.finditer(code):
            yield number, "constant + 1", line[:found.start()] + str(int(found[1]) + 1) + line[found.end():]
        negated = re.match(r"^(\s*(?:else )?(?:if|while) \()(.*)\)$", line)
        if negated and line.count("(") == line.count(")"):
            yield number, "condition negated", f"{negated[1]}!({negated[2]}))"
        whole = code.replace("\0", "_")
        if STATEMENT.match(whole) and not NO_STATEMENT.match(code) and line.count("(") == line.count(")"):
            before = shown[number - 1].strip("\0 ") if number else ""
            if before.endswith((";", "{", "}", ")", ":")) or not before:
                yield number, "statement left out", re.match(r"\s*", line)[0] + ";"


def drawn(room, seed):
    """All mutants of a room, at most one per line, in an order drawn from the seed."""
    folder, found = os.path.join(ROOT, ROOMS[room][0]), []
    for base, folders, names in os.walk(folder):
        rooms = {os.path.join(ROOT, other[0]) for other in ROOMS.values()}
        folders[:] = sorted(name for name in folders
                            if name not in ("bin", "obj") and os.path.join(base, name) not in rooms)
        for name in sorted(names):
            if name.endswith(".cs"):
                path = os.path.relpath(os.path.join(base, name), ROOT)
                text = open(os.path.join(ROOT, path), encoding="utf-8").read()
                found += [(path, *mutant) for mutant in mutants_of(path, text)]
    random.Random(f"{seed}/{room}").shuffle(found)
    seen = set()
    for path, number, kind, line in found:
        if (path, number) not in seen:
            seen.add((path, number))
            yield path, number, kind, line


def own_tests(room, path):
    """The namespace of the tests that mirror the folder of a file."""
    folder, _, tests, _ = ROOMS[room]
    base = os.path.join("src", folder.split("/")[1])
    return ".".join(["Atelier", tests, *os.path.relpath(os.path.dirname(path), base).split(os.sep)[:1]]) + "*"


def mirrored(room):
    """The namespaces of the room's folders that have tests of their own in the test project."""
    folder, _, tests, namespaces = ROOMS[room]
    names = sorted(os.listdir(os.path.join(ROOT, folder)))
    found = [[own_tests(room, os.path.join(folder, name, "_"))] for name in names
             if os.path.isdir(os.path.join(ROOT, "tests", tests, name))]
    return [one for one in found if one != namespaces]


class Checkout:
    """A clone of HEAD. It is built once as a whole, and then one project at a time."""

    def __init__(self, folder):
        self.path = os.path.join(folder, "checkout")
        self.environment = {**os.environ, "DOTNET_CLI_TELEMETRY_OPTOUT": "1", "DOTNET_NOLOGO": "1",
                            "DOTNET_SYSTEM_GLOBALIZATION_INVARIANT": "1"}
        head = subprocess.check_output(["git", "rev-parse", "HEAD"], cwd=ROOT, text=True).strip()
        if not os.path.exists(self.path):
            subprocess.check_call(["git", "clone", "--quiet", ROOT, self.path])
        subprocess.check_call(["git", "fetch", "--quiet", "origin"], cwd=self.path)
        subprocess.check_call(["git", "checkout", "--quiet", "--force", "--detach", head], cwd=self.path)
        self.link("azurite")

    def link(self, tool):
        """Gives the clone a program that the script ./atelier test has installed."""
        own, here = (os.path.join(folder, "artifacts", tool) for folder in (self.path, ROOT))
        if os.path.isdir(here) and not os.path.exists(own):
            os.makedirs(os.path.dirname(own), exist_ok=True)
            os.symlink(here, own)

    def build(self, project, alone=False):
        options = ["--no-restore", "--no-dependencies"] if alone else []
        return subprocess.run(
            ["dotnet", "build", project, "-c", "Release", "-p:TorchBackend=cpu", "-p:TreatWarningsAsErrors=false",
             "-p:RunAnalyzers=false", "-v", "quiet", "--tl:off", *options],
            cwd=self.path, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def assembly(self, project):
        name = os.path.join(self.path, "artifacts", "cpu", "bin", project, "release", f"Atelier.{project}.dll")
        return hashlib.sha256(open(name, "rb").read()).hexdigest()

    def test(self, project, namespaces, seconds):
        """Runs the tests. Returns '' if every test passes, otherwise the first failure or another reason."""
        program = os.path.join(self.path, "artifacts", "cpu", "bin", project, "release", f"Atelier.{project}.dll")
        filters = ["--filter-namespace", *namespaces] if namespaces else []
        run = subprocess.Popen(
            ["dotnet", program, "--stop-on-fail", "on", "--no-progress", "--no-ansi", *filters],
            cwd=self.path, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            errors="replace", start_new_session=True)
        try:
            output, _ = run.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            os.killpg(run.pid, signal.SIGKILL)
            run.communicate()
            return f"time-out after {seconds:.0f} s"
        if run.returncode == 0:
            return ""
        failed = re.findall(r"^failed (\S+)", output, re.M)
        return failed[0] if failed else f"exit code {run.returncode}: {output.strip()[-200:]}"


def results(name):
    return [json.loads(line) for line in open(name, encoding="utf-8")] if os.path.exists(name) else []


def report(found, each):
    noticed = [one for one in found if one["noticed"]]
    for room in ROOMS:
        here = [one for one in found if one["room"] == room]
        if here:
            print(f"{room:10} {sum(bool(one['noticed']) for one in here):3} of {len(here):3} noticed, "
                  f"{each} requested, {sum(one['seconds'] for one in here) / 60:.0f} min")
    for one in found:
        if not one["noticed"]:
            print(f"\nsurvived: {one['path']}:{one['line']} ({one['kind']})")
            print(f"- {one['before'].strip()}\n+ {one['after'].strip()}")
    share = f" ({len(noticed) / len(found):.0%})" if found else ""
    print(f"\n{len(noticed)} of {len(found)} noticed{share}, {sum(one['seconds'] for one in found) / 60:.0f} min")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--each", type=int, default=25, help="mutants per room")
    parser.add_argument("--rooms", nargs="*", default=STANDARD, choices=list(ROOMS))
    parser.add_argument("--folder", default=os.path.join(ROOT, "artifacts", "mutants"))
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--report", action="store_true")
    options = parser.parse_args()
    name = os.path.join(options.folder, f"{options.seed}.jsonl")
    if options.report:
        return report(results(name), options.each)
    if options.list:
        for room in options.rooms:
            for path, number, kind, line in list(drawn(room, options.seed))[:options.each]:
                before = open(os.path.join(ROOT, path), encoding="utf-8").read().split("\n")[number]
                print(f"{path}:{number + 1} ({kind})\n- {before.strip()}\n+ {line.strip()}")
        return None
    os.makedirs(options.folder, exist_ok=True)
    vocabulary = os.path.join(ROOT, "tests", "reference", "clip", "bpe_simple_vocab_16e6.txt.gz")
    if os.path.isfile(vocabulary):
        os.environ.setdefault("ATELIER_VOCABULARY", vocabulary)  # The file is not part of the clone.
    checkout = Checkout(options.folder)
    for room in options.rooms:
        folder, project, tests, namespaces = ROOMS[room]
        done = [one for one in results(name) if one["room"] == room]
        if len(done) >= options.each:
            continue
        built = checkout.build(f"tests/{tests}")
        if built.returncode or (built := checkout.build(f"src/{project}", alone=True)).returncode:
            sys.exit(f"{room} does not build:\n{built.stdout}")
        sound = checkout.assembly(project)
        calm = {}
        for which in [*mirrored(room), *([namespaces] if namespaces else []), []]:
            started = time.monotonic()
            if broken := checkout.test(tests, which, 1800):
                sys.exit(f"{room}: a test fails without any mutant: {broken}")
            calm[tuple(which)] = time.monotonic() - started
        print(f"{room} without a mutant: "
              + ", ".join(f"{' '.join(which) or 'all'} {seconds:.0f} s" for which, seconds in calm.items()), flush=True)
        tried = {(one["path"], one["line"], one["after"]) for one in done}
        for path, number, kind, line in drawn(room, options.seed):
            if len(done) >= options.each:
                break
            if (path, number + 1, line) in tried:
                continue
            started = time.monotonic()
            target = os.path.join(checkout.path, path)
            original = open(target, encoding="utf-8").read()
            lines = original.split("\n")
            before, lines[number] = lines[number], line
            try:
                open(target, "w", encoding="utf-8").write("\n".join(lines))
                if checkout.build(f"src/{project}", alone=True).returncode or checkout.assembly(project) == sound:
                    continue
                passes = [which for which in ([own_tests(room, path)], namespaces, []) if tuple(which) in calm]
                noticed = next(filter(None, (
                    checkout.test(tests, which, 3 * calm[tuple(which)] + 60) for which in passes)), "")
            finally:
                open(target, "w", encoding="utf-8").write(original)
            done.append({"room": room, "path": path, "line": number + 1, "kind": kind, "before": before, "after": line,
                         "noticed": noticed, "seconds": time.monotonic() - started})
            with open(name, "a", encoding="utf-8") as file:
                file.write(json.dumps(done[-1]) + "\n")
            print(f"{room} {len(done):3} {done[-1]['seconds']:4.0f} s {path}:{number + 1} {kind}: "
                  f"{noticed or 'SURVIVED'}", flush=True)
    report(results(name), options.each)


if __name__ == "__main__":
    main()
