#!/usr/bin/env bash
# Builds the images of silo and gateway with docker, podman or buildah.
#
#   eng/images.sh [--base IMAGE] [--name PREFIX] [--tag TAG] [--libtorch FOLDER] [--tool TOOL] [--context-only]
#
# The images are PREFIX-gateway:TAG and PREFIX-silo:TAG. --libtorch names another libtorch than the package's, such as a
# CUDA build's lib folder; the silo's image is PREFIX-silo-cuda:TAG then if that folder has libtorch_cuda.so.
set -euo pipefail
root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
base='' name=atelier tag=latest libtorch='' tool='' only=0

fail() { echo "images: $*" >&2; exit 1; }

while [ $# -gt 0 ]; do
  case $1 in
    --context-only) only=1; shift; continue ;;
    --base|--name|--tag|--libtorch|--tool) [ $# -ge 2 ] || fail "$1 needs a value." ;;
    *) fail "'$1' is not an option; the options are --base, --name, --tag, --libtorch, --tool and --context-only." ;;
  esac
  case $1 in
    --base) base=$2 ;;
    --name) name=$2 ;;
    --tag) tag=$2 ;;
    --libtorch) libtorch=$2 ;;
    --tool) tool=$2 ;;
  esac
  shift 2
done
for one in docker podman buildah; do
  [ -n "$tool" ] || ! command -v "$one" >/dev/null || tool=$one
done
[ $only = 1 ] || [ -n "$tool" ] || fail "none of docker, podman and buildah is installed."
if [ -n "$libtorch" ]; then
  [ -e "$libtorch/libtorch_cpu.so" ] || fail "there is no libtorch_cpu.so in $libtorch; name libtorch's lib folder."
fi

# Published without symbols and documentation, for this platform only.
context=$root/artifacts/images
publish() {
  rm -rf "$context/$2"
  (cd "$root" && dotnet publish "src/$1" -c Release -r linux-x64 --self-contained false -p:TorchBackend=cpu \
    -p:DebugType=none -p:CopyDocumentationFilesFromPackages=false -v quiet --tl:off -o "$context/$2") \
    || fail "publishing $1 failed."
  find "$context/$2" \( -name '*.pdb' -o -name '*.xml' \) -delete
}
publish Gateway gateway
publish Silo silo
# Only Redis' vector sets need it, which no store has; Garnet is there to import stores of format 0.
rm -f "$context/silo/libdiskann_garnet.so"
rm -rf "$context/libtorch"
mkdir -p "$context/libtorch"
for library in "$context"/silo/lib{torch,c10,gomp}*.so*; do
  [ ! -e "$library" ] || mv "$library" "$context/libtorch/"
done
if [ -n "$libtorch" ]; then
  rm -rf "$context/libtorch"
  mkdir -p "$context/libtorch"
  cp -L "$libtorch"/*.so* "$context/libtorch/"
fi
du -sm "$context"/{gateway,silo,libtorch} | awk '{n=split($2,part,"/"); print "images: " part[n] " has " $1 " MB"}'
[ $only = 0 ] || exit 0

silo=$name-silo
[ ! -e "$context/libtorch/libtorch_cuda.so" ] || silo=$name-silo-cuda
build() {
  local arguments=(-f "$root/eng/images/Containerfile" --target "$1" -t "$2:$tag")
  [ -z "$base" ] || arguments+=(--build-arg "BASE=$base")
  case $tool in
    buildah) buildah build --pull=false "${arguments[@]}" "$context" ;;
    *) "$tool" build "${arguments[@]}" "$context" ;;
  esac >/dev/null || fail "building $2 failed."
  echo "images: $2:$tag"
}
build gateway "$name-gateway"
build silo "$silo"
