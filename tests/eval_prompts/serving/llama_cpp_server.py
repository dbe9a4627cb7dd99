"""llama.cpp's server in a process of its own: ``python llama_cpp_server.py FILE.gguf`` prints its address and serves
until its input ends."""

from __future__ import annotations

import sys

import xllamacpp

parameters = xllamacpp.CommonParams()
parameters.model.path = sys.argv[1]
parameters.port = 0
parameters.n_ctx, parameters.n_parallel = 1024, 2
parameters.cpuparams.n_threads = 1
parameters.warmup = False
server = xllamacpp.Server(parameters)
print(f"serving at {server.listening_address}", flush=True)
sys.stdin.read()
