#!/usr/bin/env python3
"""Builds the images, and draws a picture with a silo and a gateway that run from them.

    tests/images/images.py [--keep]

The base is made of Debian's packages and the installed ASP.NET runtime, so no registry is needed. The containers are
changed roots with the user and the files of the images; they share this machine's network. Needs root, and the Debian
packages buildah, crun and debootstrap. Prints the sizes that count: what each image adds to its base, and for the silo
without libtorch's layer.
"""
import argparse, base64, os, re, secrets, shutil, signal, socket, subprocess, sys, tempfile, time, urllib.request

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
CONTEXT = os.path.join(ROOT, "artifacts", "images")
BASE, NAME, TAG = "localhost/atelier-base:test", "localhost/atelier", "test"
LIMITS = {"gateway": 30, "silo": 70}  # MB, uncompressed
USER = 10001
os.environ.update(STORAGE_DRIVER="vfs", BUILDAH_ISOLATION="chroot")


def run(*arguments, **options):
    return subprocess.run(arguments, check=True, text=True, stdout=subprocess.PIPE, **options).stdout.strip()


def make_base():
    """An image with libgomp, libstdc++ and the ASP.NET runtime of this machine."""
    root = os.path.join(CONTEXT, "base")
    if not os.path.exists(os.path.join(root, "usr", "share", "dotnet", "dotnet")):
        shutil.rmtree(root, ignore_errors=True)
        os.makedirs(CONTEXT, exist_ok=True)
        run("debootstrap", "--variant=minbase", "--include=libgomp1,libstdc++6,ca-certificates", "bookworm", root)
        runtimes = re.findall(r"^(Microsoft\.(?:NETCore|AspNetCore)\.App) (10\.\S+) \[(.*)\]$",
                              run("dotnet", "--list-runtimes"), re.M)
        home = os.path.dirname(os.path.dirname(runtimes[0][2]))
        target = os.path.join(root, "usr", "share", "dotnet")
        shutil.copytree(os.path.join(home, "host"), os.path.join(target, "host"))
        for name, version, folder in runtimes:
            shutil.copytree(os.path.join(folder, version), os.path.join(target, "shared", name, version))
        shutil.copy2(os.path.join(home, "dotnet"), target)
    container = run("buildah", "from", "scratch")
    run("buildah", "copy", "--quiet", container, root, "/")
    run("buildah", "commit", "--quiet", "--rm", container, BASE)


def size(folder):
    return sum(os.lstat(os.path.join(base, name)).st_size for base, _, names in os.walk(folder) for name in names)


def free_ports(count):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


containers = []


def start(image, program, folders, settings, *arguments, wait=False):
    """Runs a program of an image as the image's user. Settings become environment variables."""
    container = run("buildah", "from", f"{NAME}-{image}:{TAG}")
    containers.append(container)
    command = ["buildah", "run", "--user", f"{USER}:{USER}"]
    for source, target in folders:
        command += ["--volume", f"{source}:{target}"]
    for key, value in settings.items():
        command += ["--env", f"{key.replace(':', '__')}={value}"]
    command += [container, "--", f"/app/{program}", *arguments]
    if wait:
        return subprocess.run(command, timeout=300).returncode
    return subprocess.Popen(command, start_new_session=True)


def wait_until(url, seconds=120):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(url, timeout=2) as answer:
                if answer.status == 200:
                    return
        except OSError:
            time.sleep(0.05)
    sys.exit(f"images: {url} did not answer with 200 within {seconds} s")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", action="store_true", help="use the images of the last run")
    options = parser.parse_args()
    for tool in ("buildah", "debootstrap"):
        if not shutil.which(tool):
            sys.exit(f"images: {tool} is not installed; install the Debian packages buildah, crun and debootstrap.")
    if not options.keep:
        make_base()
        subprocess.run([os.path.join(ROOT, "eng", "images.sh"), "--tool", "buildah", "--base", BASE, "--name", NAME,
                        "--tag", TAG], check=True)
    sizes = {name: size(os.path.join(CONTEXT, name)) / 1e6 for name in ("gateway", "silo", "libtorch")}
    for name, limit in LIMITS.items():
        print(f"images: {name} adds {sizes[name]:.1f} MB to its base (at most {limit} MB)")
    print(f"images: libtorch's layer has {sizes['libtorch']:.0f} MB")

    silo, proxy, http, silo_metrics, gateway, gateway_metrics = free_ports(6)
    admin_key = secrets.token_hex(24)
    shared = {"Cluster:Secret": base64.b64encode(secrets.token_bytes(32)).decode(), "DOTNET_EnableDiagnostics": "0"}
    processes = []
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        data = os.path.join(folder, "data")
        os.mkdir(data, 0o700)
        os.chown(data, USER, USER)
        try:
            began = time.monotonic()
            processes.append(start(
                "silo", "Atelier.Silo",
                [(data, "/data"), (os.path.join(ROOT, "models", "shapes"), "/models/shapes:ro")],
                {**shared, "Silo:Name": "one", "Silo:Port": silo, "Silo:ProxyPort": proxy, "Silo:HttpPort": http,
                 "Metrics:Port": silo_metrics, "Models:Folders:0": "/models/shapes", "Store:Folder": "/data/store",
                 "Blobs:Folder": "/data/blobs", "ModelCache:Folder": "/data/models"}))
            processes.append(start(
                "gateway", "Atelier.Gateway", [],
                {**shared, "Gateway:Port": gateway, "Gateway:AdminKey": admin_key, "Metrics:Port": gateway_metrics,
                 "Cluster:Silos:0": f"127.0.0.1:{proxy}"}))
            wait_until(f"http://127.0.0.1:{silo_metrics}/health/started")
            print(f"images: the silo was ready after {time.monotonic() - began:.1f} s")
            wait_until(f"http://127.0.0.1:{gateway_metrics}/health/ready")
            failed = start(
                "gateway", "Atelier.Gateway", [], {"Check:AdminKey": admin_key}, "check", "--url",
                f"http://127.0.0.1:{gateway}", "--prompt", "a red circle", wait=True)
        finally:
            for process in reversed(processes):
                os.killpg(process.pid, signal.SIGTERM)
            for process in processes:
                try:
                    process.wait(timeout=60)
                except subprocess.TimeoutExpired:
                    os.killpg(process.pid, signal.SIGKILL)
            subprocess.run(["buildah", "rm", *containers], stdout=subprocess.DEVNULL)
    if failed or any(sizes[name] > limit for name, limit in LIMITS.items()):
        sys.exit("images: failed")


if __name__ == "__main__":
    main()
