#!/usr/bin/env bash
# Measures XL_2 in bfloat16 on the GPU of this machine, in under 8 minutes after the build. If python3 has PyTorch, also
# measures a plain PyTorch forward pass of the same shapes. `bench/gpu.sh FILE` saves the figures as JSON.
set -euo pipefail
root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
if [ ! -e /dev/nvidiactl ] && [ ! -e /dev/dxg ]; then
  echo "bench/gpu.sh: this machine has no NVIDIA GPU, or its driver is not installed." >&2
  exit 1
fi
[ -n "${ATELIER_LIBTORCH:-}" ] || export ATELIER_BACKEND=cuda
figures=${1:-}
if [ -z "$figures" ]; then
  figures=$(mktemp)
  trap 'rm -f "$figures"' EXIT
fi
nvidia-smi --query-gpu=name,driver_version --format=csv,noheader 2>/dev/null || true
"$root/atelier" bench gpu --json "$figures"
if python3 -c 'import torch; assert torch.cuda.is_available()' 2>/dev/null; then
  python3 "$root/bench/plain_dit.py" "$figures"
else
  echo "bench/gpu.sh: python3 has no PyTorch that can use the GPU, so nothing is compared with PyTorch."
fi
