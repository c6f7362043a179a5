#!/usr/bin/env bash
# The attacks of tests/EndToEnd in full size: 200 generations and 20 kills, a poison request among 50 good ones, a store
# of 10,000 generations, 10,000 fuzzed requests from the seed ATELIER_ATTACK_SEED.
set -euo pipefail
cd "$(dirname "$0")/.."
export ATELIER_ATTACK_GENERATIONS=${ATELIER_ATTACK_GENERATIONS:-200} ATELIER_ATTACK_KILLS=${ATELIER_ATTACK_KILLS:-20} \
  ATELIER_ATTACK_GOOD=${ATELIER_ATTACK_GOOD:-50} ATELIER_ATTACK_MANY=${ATELIER_ATTACK_MANY:-10000} \
  ATELIER_ATTACK_FUZZ=${ATELIER_ATTACK_FUZZ:-10000} ATELIER_ATTACK_SECONDS=${ATELIER_ATTACK_SECONDS:-3}
dotnet build tests/EndToEnd -c Release -v quiet --tl:off
time dotnet artifacts/cpu/bin/EndToEnd/release/Atelier.EndToEnd.dll --filter-class '*NothingIsLostTests' \
  --filter-class '*LongLifeTests' --filter-class '*FuzzTests' --output Detailed
