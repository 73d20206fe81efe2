#!/usr/bin/env bash
# Channels taken out of networks trained on Fashion-MNIST (trained here when they are not there yet: minutes to an hour on two
# cores): ours on the ONNX file against Torch-Pruning on the program that made it, at the same multiply-accumulates. Top-1
# before and after repair, speed at batch 1 and 64. Fails when the residual net loses more than 1.5 points of top-1 with two
# thirds of the work left and repair alone, or where Torch-Pruning's result is better and no larger.
# PYTHON is one that has torch, onnx, onnxruntime and torch-pruning; without it bench/.venv, which is made.
set -euo pipefail
cd "$(dirname "$0")/.."
nets=("$@")
[[ $# -gt 0 ]] || nets=(resnet mobile)

python=${PYTHON:-}
if [[ -z $python ]]; then
  bench/setup.sh export prune
  python=$PWD/bench/.venv/bin/python
fi
work=${WORK:-$PWD/bench/results/prune}
mkdir -p "$work" bin
go build -o bin/optimize .
if [[ ! -d $work/fashion-mnist ]]; then
  command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || { echo "the images come with Debian's dataset-fashion-mnist; skipped"; exit 0; }
  (cd "$work" && apt-get -qq download dataset-fashion-mnist && dpkg-deb -x dataset-fashion-mnist_*.deb fashion-mnist)
fi

status=0
for net in "${nets[@]}"; do
  [[ -f $work/$net.onnx ]] || nice "$python" bench/prune/train.py "$work" "$net"
  for share in 0.667 0.5; do
    give=()
    [[ $net == resnet && $share == 0.667 ]] && give=(1.5)
    cache=$(mktemp -d)
    OPTIMIZE_CACHE=$cache bin/optimize apply --no-color bench/prune/recipe.hcl --var "model=$work/$net.onnx" \
      --var "calibration=$work/calibration.npz" --var "out=$work/$net-$share-ours" --var "macs=$share" >"$work/$net-$share-ours.log" || { cat "$work/$net-$share-ours.log"; status=1; rm -rf "$cache"; continue; }
    rm -rf "$cache"
    "$python" bench/prune/peer.py "$work" "$net" "$share" "$work/$net-$share-torch-pruning" 2>"$work/$net-$share-peer.log" || { tail -3 "$work/$net-$share-peer.log"; echo "$net: Torch-Pruning fails"; }
    "$python" bench/prune/compare.py "$work" "$net" "$share" "${give[@]}" | tee "$work/$net-$share.md" || status=1
    echo
  done
done
exit "$status"
