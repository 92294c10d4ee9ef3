#!/bin/bash
# SPDX-License-Identifier: MIT
# Random histories of images that coblk and qemu's programs write in turn; see
# history.py.  COBLK_SEED repeats a run.
. "$(dirname "$0")/lib.sh"

requires qemu-img qemu-utils
requires qemu-io qemu-utils
requires python3 python3

seed=${COBLK_SEED:-$((RANDOM * 32768 + RANDOM))}
echo "# COBLK_SEED=$seed"

# history OPTIONS [BACKING]
history()
{
    rm -f ./*
    ok "history of '$1'${2:+ on a backing file}" \
        env OURS="$tmp/bin" python3 "$here/history.py" "$seed" "$@"
}

history ''
history compat=0.10
history cluster_size=512
history cluster_size=4k,lazy_refcounts=on
history cluster_size=2M
history extended_l2=on,cluster_size=16k
history refcount_bits=1,cluster_size=4k
history refcount_bits=64,cluster_size=1k
history compression_type=zstd,cluster_size=8k
history preallocation=metadata
history data_file=data
history data_file=data,data_file_raw=on,cluster_size=4k
history cluster_size=4k 1000000
history '' 4000000
history extended_l2=on 2000384
history compat=0.10,cluster_size=4k 5000000
done_testing
