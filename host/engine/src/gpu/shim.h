// Runs CUDA C++ kernels on the processor, for tests: blocks one after the other, the threads of a block as coroutines that
// change at barriers. Enough for kernels that use threads, blocks, shared memory, barriers and shuffles.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <type_traits>
#include <utility>

struct dim3 {
    unsigned x = 1, y = 1, z = 1;
};
static dim3 threadIdx, blockIdx, blockDim, gridDim;

#define __global__
#define __device__ static
#define __shared__ static // blocks run one after the other, so one copy is the block's copy

namespace shim {
constexpr unsigned MOST = 1024;
constexpr size_t STACK = 64 << 10;
static void* stacks[MOST];
static void* saved[MOST];
static void* scheduler;
static bool done[MOST];
static void (*body)(void*);
static void* argument;

struct Barrier {
    unsigned members = 0, arrived = 0, generation = 0;
};
static Barrier block, warps[MOST / 32];
static double exchanged[MOST];

#if defined(__x86_64__)
extern "C" __attribute__((visibility("hidden"))) void shim_switch(void** save, void* load);
asm(R"(
.text
.globl shim_switch
.hidden shim_switch
.type shim_switch,@function
shim_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
)");
static void begin(unsigned t, void (*entry)()) {
    void** top = (void**)(((uintptr_t)stacks[t] + STACK - 64) & ~(uintptr_t)15);
    top[6] = (void*)entry;
    saved[t] = top;
}
static void enter(unsigned t) { shim_switch(&scheduler, saved[t]); }
static void leave(unsigned t) { shim_switch(&saved[t], scheduler); }
#else
#include <ucontext.h>
static ucontext_t contexts[MOST], main_context;
static void begin(unsigned t, void (*entry)()) {
    getcontext(&contexts[t]);
    contexts[t].uc_stack.ss_sp = stacks[t];
    contexts[t].uc_stack.ss_size = STACK;
    makecontext(&contexts[t], entry, 0);
}
static void enter(unsigned t) { swapcontext(&main_context, &contexts[t]); }
static void leave(unsigned t) { swapcontext(&contexts[t], &main_context); }
#endif

static void yield() { leave(threadIdx.x); }

static void release(Barrier& b) {
    b.arrived = 0;
    b.generation++;
}

static void wait(Barrier& b) {
    unsigned generation = b.generation;
    if (++b.arrived == b.members)
        release(b);
    else
        while (generation == b.generation) yield();
}

static void quit(Barrier& b) {
    if (--b.members > 0 && b.arrived == b.members) release(b);
}

static void entry() {
    body(argument);
    done[threadIdx.x] = true;
    quit(block);
    quit(warps[threadIdx.x / 32]);
    yield();
    abort();
}

static void run_block(unsigned threads) {
    block = Barrier{threads, 0, 0};
    for (unsigned w = 0; w * 32 < threads; w++) warps[w] = Barrier{threads - w * 32 < 32 ? threads - w * 32 : 32, 0, 0};
    for (unsigned t = 0; t < threads; t++) {
        if (!stacks[t]) stacks[t] = malloc(STACK);
        done[t] = false;
        begin(t, entry);
    }
    for (unsigned left = threads; left > 0;) {
        for (unsigned t = 0; t < threads; t++) {
            if (done[t]) continue;
            threadIdx.x = t;
            enter(t);
            left -= done[t];
        }
    }
}

template <class... P, size_t... I>
static void call(void (*kernel)(P...), void** arguments, std::index_sequence<I...>) {
    kernel(*(std::remove_cv_t<P>*)arguments[I]...);
}

// Size: blocks along x and y, threads of a block. Without barriers the threads run one after the other.
template <class... P> static void launch(void (*kernel)(P...), const unsigned* size, void** arguments, bool barriers) {
    struct Call {
        void (*kernel)(P...);
        void** arguments;
    } made{kernel, arguments};
    auto once = [](void* c) {
        Call* made = (Call*)c;
        call(made->kernel, made->arguments, std::index_sequence_for<P...>{});
    };
    body = once;
    argument = &made;
    gridDim = {size[0], size[1], 1};
    blockDim = {size[2], 1, 1};
    for (unsigned y = 0; y < size[1]; y++) {
        for (unsigned x = 0; x < size[0]; x++) {
            blockIdx = {x, y, 0};
            if (barriers) {
                run_block(size[2]);
                continue;
            }
            for (threadIdx.x = 0; threadIdx.x < size[2]; threadIdx.x++) once(&made);
        }
    }
}
} // namespace shim

static void __syncthreads() { shim::wait(shim::block); }

static double __shfl_xor_sync(unsigned, double v, int mask) {
    unsigned t = threadIdx.x;
    shim::exchanged[t] = v;
    shim::wait(shim::warps[t / 32]);
    double other = shim::exchanged[t ^ (unsigned)mask];
    shim::wait(shim::warps[t / 32]);
    return other;
}
