"""llama.cpp's server in a process of its own: ``python -m tuning.exports.certify.llama_process MODEL [LORA]``.

Prints its address once it answers, and ends when its input does. llama.cpp aborts the process on files that it does not
understand, which must not be the page's.
"""

from __future__ import annotations

import os
import sys

CONTEXT = 4096


def main() -> int:
    """Serve until the input ends."""
    import xllamacpp

    model, *adapters = sys.argv[1:]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    parameters = xllamacpp.CommonParams()
    parameters.model.path = model
    parameters.n_ctx = CONTEXT
    parameters.n_parallel = 1
    parameters.n_gpu_layers = 0
    parameters.warmup = False
    parameters.swa_full = True  # else every token reads its whole prompt anew where layers have a window
    parameters.verbosity = 0
    parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = cores
    if adapters:
        parameters.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(path, 1.0) for path in adapters]
    server = xllamacpp.Server(parameters)
    print(server.listening_address, flush=True)
    sys.stdin.read()
    sys.stdout.flush()
    os._exit(0)  # llama.cpp's own threads take seconds to end


if __name__ == "__main__":
    sys.exit(main())
