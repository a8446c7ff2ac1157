#!/usr/bin/env bash
# Makes the files of this folder anew: the first 8,000 training and 2,000 test images of Fashion-MNIST, and the model
# that layerprune trains on the former. Give the folder with the four original .gz files. The same machine and version
# give the same bytes.
set -eu
cd "$(dirname "$0")"
source_folder=${1:?"usage: make.sh FASHION_MNIST_FOLDER [images|model]"}
what=${2:-all}

# part FILE BYTES_PER_ITEM HEADER_BYTES COUNT: the first COUNT items with a header that says so.
part() {
    local out big_endian
    out=$(mktemp)
    big_endian=$(printf '\\x%02x\\x%02x\\x%02x\\x%02x' $(($4 >> 24 & 255)) $(($4 >> 16 & 255)) $(($4 >> 8 & 255)) $(($4 & 255)))
    gunzip -c "$source_folder/$1" 2>/dev/null | head -c 4 >"$out"
    printf "$big_endian" >>"$out"
    gunzip -c "$source_folder/$1" 2>/dev/null | tail -c +9 | head -c $(($3 - 8 + $2 * $4)) >>"$out"
    gzip -9nc "$out" >"$1"
    rm "$out"
}

if [ "$what" != model ]; then
    part train-images-idx3-ubyte.gz 784 16 8000
    part train-labels-idx1-ubyte.gz 1 8 8000
    part t10k-images-idx3-ubyte.gz 784 16 2000
    part t10k-labels-idx1-ubyte.gz 1 8 2000
fi

if [ "$what" != images ]; then
    architecture=$(mktemp --suffix=.onnx)
    cargo run --release -p layerprune-testing --example demo_architecture -- "$architecture"
    cargo run --release -p layerprune-cli --bin layerprune -- train "$architecture" --data demo -o model.onnx \
        --epochs 40 --batch-size 64 --learning-rate 0.1 --warm-up 1 --pad-crop 2 --flip --weight-decay 5e-4
    rm "$architecture"
fi
