#!/usr/bin/env python3
"""Steps on demand in PyTorch: the other side of compare.py, with the protocol of `alambic-step`.

Prints a line with the resident memory once the libraries are loaded and before there is a model. Then each line `go N` on standard
input is answered by a line of JSON about N steps: seconds of the CPU and of the clock, resident memory and its peak during these
steps, and the loss of the last.
"""

import argparse
import gc
import json
import resource
import sys
import time

import torch
import torchvision

import networks
import works


def resident_kib():
    """KiB of resident memory: now, and at its peak."""
    with open("/proc/self/status") as status:
        fields = dict(line.split(":", 1) for line in status)
    return tuple(int(fields[name].split()[0]) for name in ("VmRSS", "VmHWM"))


def forget_peak():
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")


def cpu_secs():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def answer(**fields):
    print(json.dumps(fields), flush=True)


def on_gpu():
    return torch.get_default_device().type == "cuda"


def block(steps, step):
    """Does some steps; the peak is that of these steps alone."""
    forget_peak()
    if on_gpu():
        torch.cuda.reset_peak_memory_stats()
    cpu, clock = cpu_secs(), time.perf_counter()
    for _ in range(steps):
        value = step()
    wall, cpu = time.perf_counter() - clock, cpu_secs() - cpu
    rss, peak = resident_kib()
    device_peak = torch.cuda.max_memory_allocated() if on_gpu() else None
    answer(steps=steps, cpu_secs=cpu, wall_secs=wall, rss_kib=rss, peak_kib=peak, value=value, device_peak_bytes=device_peak)


def load_libraries(form):
    """Libraries load lazily: a trivial operation brings in the kernels, a trivial compiled function the compiler."""
    torch.nn.functional.conv2d(torch.ones(1, 1, 8, 8), torch.ones(1, 1, 3, 3)).sum().item()
    if form.compiled:
        torch.compile(lambda x: x + 1)(torch.ones(8))
    gc.collect()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", choices=sorted(works.WORKS))
    parser.add_argument("--network", choices=sorted(networks.NETWORKS), default="resnet18")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--synthetic", type=int, help="synthetic images in gradient matching; by default as many as real ones")
    parser.add_argument("--form", choices=sorted(works.FORMS), default="eager")
    parser.add_argument("--side", type=int, default=32, help="pixels a side")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--tf32", action="store_true", help="products of f32 with 10 bits of mantissa on a GPU")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--vector-bits", type=int, help="width of the vectors in compiled code; by default the widest there are")
    args = parser.parse_args()

    works.RESOLUTION = args.side
    torch.set_default_device(args.device)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = args.tf32
    torch.manual_seed(0)
    torch.set_num_threads(args.threads)
    torch.set_num_interop_threads(1)
    if args.vector_bits:
        from torch._inductor import config

        config.cpp.simdlen = args.vector_bits
    form = works.FORMS[args.form]
    load_libraries(form)
    base, _ = resident_kib()
    answer(
        base_kib=base,
        threads=torch.get_num_threads(),
        torch=torch.__version__,
        torchvision=torchvision.__version__,
        capability=torch.backends.cpu.get_cpu_capability(),
    )
    size = works.Size(args.network, args.batch, args.synthetic or args.batch)
    step = works.WORKS[args.work](size, form)
    for line in sys.stdin:
        word, count = line.split()
        if word != "go" or int(count) < 1:
            sys.exit(f"got {line!r}, expected \"go N\"")
        block(int(count), step)


if __name__ == "__main__":
    main()
