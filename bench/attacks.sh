#!/usr/bin/env bash
# The attacks of tests/EndToEnd at full size: 200 generations and 20 kills, a poison request among 50 good ones, a store
# of 10,000 generations, 10,000 fuzzed requests from the seed ATELIER_ATTACK_SEED.
set -euo pipefail
time "$(dirname "$0")/../atelier" test --long attacks
