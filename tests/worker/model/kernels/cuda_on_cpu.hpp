// Runs CUDA C on a CPU: every CUDA thread is a fibre, and one scheduler runs them in turn.
//
// Fibres change only where CUDA threads meet (barriers, shuffles, votes, reductions) and there in an
// order that a seed determines: at random, or one warp as far ahead of all others as it can get, or
// between the two. Several blocks are under way at once and begin in random order. So a missing
// barrier, a read of what another block has not written yet, or a wait for a block that may not have
// begun shows as a wrong result or as a deadlock, which is reported. All lanes of a warp must meet at
// the same line of source. Shared memory is filled with garbage when a block begins. What this cannot
// show is a missing memory fence: here everybody sees every write at once.

#pragma once

#include <setjmp.h>
#include <sys/mman.h>
#include <ucontext.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#define __global__
#define __device__ static
#define __launch_bounds__(threads)
// Of one section, so that blocks which take turns can each have their own copy.
#define __shared__ static __attribute__((section("cuda_shared")))

extern "C" char __start_cuda_shared[], __stop_cuda_shared[];

struct dim3 { unsigned x = 1, y = 1, z = 1; };
struct alignas(16) float4 { float x, y, z, w; };
struct alignas(16) uint4 { unsigned x, y, z, w; };

namespace cpu {

constexpr unsigned LANES = 32, STACK = 16 * 1024, RESIDENT_MAX = 3;
constexpr uint64_t TURNS_MAX = 10'000'000;  // of all fibres of a launch together

struct Warp {
    uint64_t slots[2][LANES] = {};
    unsigned arrived[2] = {};
    int line = 0;
    std::vector<struct Fibre*> waiting;
};

struct Block {
    unsigned number, living, arrived = 0, count[2] = {}, round = 0;
    std::vector<Warp> warps;
    std::vector<char> shared;
    std::vector<struct Fibre*> waiting;
};

struct Fibre {
    Block* block = nullptr;
    unsigned thread = 0, round = 0, block_round = 0;
    bool done = false, begun = false;
    jmp_buf place;
    ucontext_t start;
    char* stack = nullptr;
};

struct Machine {
    unsigned blocks, threads;
    uint64_t chance;
    std::vector<Fibre*> ready;
    Fibre* running = nullptr;
    Block* mapped = nullptr;
    jmp_buf scheduler;
    void (*call)(void*);
    void* closure;
    std::string failure;
};

inline Machine* machine = nullptr;

inline uint64_t roll(uint64_t below) {
    uint64_t& x = machine->chance;
    x ^= x << 13, x ^= x >> 7, x ^= x << 17;
    return x % below;
}

inline void fail(const std::string& why) {
    if (machine->failure.empty()) machine->failure = why;
}

inline void leave() {  // to the scheduler; comes back when the fibre is picked again
    if (_setjmp(machine->running->place) == 0) _longjmp(machine->scheduler, 1);
}

inline void wake(std::vector<Fibre*>& waiters) {
    machine->ready.insert(machine->ready.end(), waiters.begin(), waiters.end());
    waiters.clear();
}

inline Warp& warp_of(Fibre* fibre) { return fibre->block->warps[fibre->thread / LANES]; }

// Every lane leaves a word; returns all 32 once the last lane has come. Two sets of slots take
// turns: a lane can be one meeting ahead of another, never two.
inline const uint64_t* meet(uint64_t word, unsigned mask, int line) {
    Fibre* me = machine->running;
    Warp& warp = warp_of(me);
    unsigned set = me->round++ % 2;
    if (mask != 0xffffffffu) fail("a mask of fewer than all lanes");
    if (warp.arrived[set] == 0) warp.line = line;
    if (warp.line != line)
        fail("lanes of a warp met at lines " + std::to_string(warp.line) + " and " +
             std::to_string(line));
    warp.slots[set][me->thread % LANES] = word;
    warp.waiting.push_back(me);
    if (++warp.arrived[set] == LANES) {
        warp.arrived[set] = 0;
        wake(warp.waiting);
    }
    leave();
    return warp.slots[set];
}

inline void open_barrier(Block* block) {
    if (block->living > 0 && block->arrived == block->living) {
        block->arrived = 0;
        block->count[(block->round + 1) % 2] = 0;
        block->round++;
        wake(block->waiting);
    }
}

// The barrier of a block; returns how many threads came with `yes`.
inline unsigned gather(bool yes) {
    Fibre* me = machine->running;
    Block* block = me->block;
    unsigned set = me->block_round++ % 2;
    block->count[set] += yes;
    block->arrived++;
    block->waiting.push_back(me);
    open_barrier(block);
    leave();
    return block->count[set];
}

inline void body() {
    machine->call(machine->closure);
    Fibre* me = machine->running;
    me->done = true;
    me->block->living--;
    open_barrier(me->block);
    _longjmp(machine->scheduler, 1);
}

inline void map_shared(Block* block) {
    size_t size = __stop_cuda_shared - __start_cuda_shared;
    if (machine->mapped == block) return;
    if (machine->mapped) memcpy(machine->mapped->shared.data(), __start_cuda_shared, size);
    memcpy(__start_cuda_shared, block->shared.data(), size);
    machine->mapped = block;
}

inline void resume(Fibre* fibre) {
    machine->running = fibre;
    map_shared(fibre->block);
    if (_setjmp(machine->scheduler) != 0) return;
    if (fibre->begun) _longjmp(fibre->place, 1);
    fibre->begun = true;
    getcontext(&fibre->start);
    fibre->start.uc_stack.ss_sp = fibre->stack;
    fibre->start.uc_stack.ss_size = STACK;
    fibre->start.uc_link = nullptr;
    makecontext(&fibre->start, body, 0);
    setcontext(&fibre->start);
}

// Puts a block where another has ended; its fibres' stacks are used again.
inline void begin(Block* block, std::vector<Fibre>& fibres, unsigned number) {
    size_t size = __stop_cuda_shared - __start_cuda_shared;
    *block = Block{number, machine->threads};
    block->warps.resize(machine->threads / LANES);
    block->shared.assign(size, char(0xcd));
    for (unsigned thread = 0; thread < machine->threads; thread++) {
        Fibre& fibre = fibres[thread];
        char* stack = fibre.stack;
        fibre = Fibre{};
        fibre.block = block, fibre.thread = thread, fibre.stack = stack;
        machine->ready.push_back(&fibre);
    }
}

// Stacks for so many fibres, kept from run to run: their pages are there already.
inline char* stacks_of(size_t fibres) {
    static char* stacks = nullptr;
    static size_t bytes = 0;
    if (bytes < fibres * STACK) {
        if (stacks) munmap(stacks, bytes);
        bytes = fibres * STACK;
        stacks = (char*)mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                             MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    }
    return stacks;
}

inline const char* run(unsigned blocks, unsigned threads, uint64_t seed, void (*call)(void*),
                       void* closure) {
    static std::string failure;
    static Machine here;
    here = Machine{blocks, threads, seed * 2654435769u + 88172645463325252u};
    machine = &here;
    here.call = call, here.closure = closure;
    unsigned resident = blocks < RESIDENT_MAX ? blocks : RESIDENT_MAX;
    // Locals of this function that change would not survive a jump; the heap does.
    struct State {
        std::vector<unsigned> order;
        std::vector<Block> places;
        std::vector<std::vector<Fibre>> fibres;
        uint64_t turns = 0;
    };
    State* state = new State;
    for (unsigned k = 0; k < blocks; k++) state->order.push_back(k);
    for (unsigned k = blocks; k > 1; k--) std::swap(state->order[k - 1], state->order[roll(k)]);
    char* stacks = stacks_of(size_t(resident) * threads);
    state->places.resize(resident);
    for (unsigned place = 0; place < resident; place++) {
        state->fibres.emplace_back(threads);
        for (unsigned thread = 0; thread < threads; thread++)
            state->fibres[place][thread].stack =
                stacks + (size_t(place) * threads + thread) * STACK;
    }
    auto next = [&](unsigned place) {
        if (state->order.empty()) return;
        unsigned number = state->order.back();
        state->order.pop_back();
        begin(&state->places[place], state->fibres[place], number);
    };
    for (unsigned place = 0; place < resident; place++) next(place);
    uint64_t& turns = state->turns;
    while (here.failure.empty()) {
        if (here.ready.empty()) {
            for (Block& block : state->places)
                if (block.living > 0) fail("deadlock: threads of a block wait for ever");
            break;
        }
        if (++turns > TURNS_MAX) fail("no end: threads of a block ask in vain");
        // Whoever was woken last is the warp that is furthest ahead. One that asks again and again
        // for what another has yet to do must not keep that one from doing it.
        bool ahead = (seed % 3 == 1 && roll(64) > 0) || (seed % 3 == 2 && roll(4) > 0);
        if (!ahead) std::swap(here.ready[roll(here.ready.size())], here.ready.back());
        Fibre* fibre = here.ready.back();
        here.ready.pop_back();
        resume(fibre);
        Fibre* last = here.running;
        if (last->done && last->block->living == 0) {
            here.mapped = nullptr;
            next(unsigned(last->block - state->places.data()));
        }
    }
    delete state;
    failure = here.failure;
    machine = nullptr;
    return failure.c_str();
}

// Calls a kernel with arguments given by their addresses, as cuLaunchKernel does.
template <typename... A, size_t... I>
const char* launch_with(void (*kernel)(A...), void** arguments, unsigned blocks, unsigned threads,
                        uint64_t seed, std::index_sequence<I...>) {
    auto closure = [&] { kernel(*static_cast<A*>(arguments[I])...); };
    auto call = [](void* it) { (*static_cast<decltype(closure)*>(it))(); };
    return run(blocks, threads, seed, call, &closure);
}

template <typename... A>
const char* launch(void (*kernel)(A...), void** arguments, unsigned blocks, unsigned threads,
                   uint64_t seed) {
    return launch_with(kernel, arguments, blocks, threads, seed, std::index_sequence_for<A...>{});
}

inline dim3 thread_index() { return {machine->running->thread, 0, 0}; }
inline dim3 block_index() { return {machine->running->block->number, 0, 0}; }

template <typename T>
uint64_t word_of(T x) {
    static_assert(sizeof(T) <= 8);
    uint64_t word = 0;
    memcpy(&word, &x, sizeof x);
    return word;
}

template <typename T>
T value_of(uint64_t word) {
    T x;
    memcpy(&x, &word, sizeof x);
    return x;
}

}  // namespace cpu

#define threadIdx (cpu::thread_index())
#define blockIdx (cpu::block_index())
#define blockDim (dim3{cpu::machine->threads, 1, 1})
#define gridDim (dim3{cpu::machine->blocks, 1, 1})

#define HERE int line = __builtin_LINE()

inline float __int_as_float(int bits) { return std::bit_cast<float>(bits); }
inline int __float_as_int(float x) { return std::bit_cast<int>(x); }
inline int __popc(unsigned x) { return std::popcount(x); }
inline int __ffs(int x) { return x ? std::countr_zero(unsigned(x)) + 1 : 0; }
template <typename A, typename B>
std::common_type_t<A, B> min(A a, B b) { return b < a ? b : a; }
template <typename A, typename B>
std::common_type_t<A, B> max(A a, B b) { return a < b ? b : a; }
using std::fabs;

inline void __threadfence() {}
inline void __syncthreads() { cpu::gather(false); }
inline int __syncthreads_or(int yes) { return cpu::gather(yes != 0) > 0; }

template <typename T>
T __shfl_sync(unsigned mask, T x, int lane, HERE) {
    return cpu::value_of<T>(cpu::meet(cpu::word_of(x), mask, line)[lane % 32]);
}
template <typename T>
T __shfl_xor_sync(unsigned mask, T x, int flip, HERE) {
    int lane = threadIdx.x % 32;
    return cpu::value_of<T>(cpu::meet(cpu::word_of(x), mask, line)[lane ^ flip]);
}
template <typename T>
T __shfl_up_sync(unsigned mask, T x, unsigned by, HERE) {
    unsigned lane = threadIdx.x % 32;
    return cpu::value_of<T>(cpu::meet(cpu::word_of(x), mask, line)[lane < by ? lane : lane - by]);
}
inline unsigned __ballot_sync(unsigned mask, int yes, HERE) {
    const uint64_t* words = cpu::meet(yes != 0, mask, line);
    unsigned votes = 0;
    for (int lane = 0; lane < 32; lane++) votes |= unsigned(words[lane]) << lane;
    return votes;
}
inline int __any_sync(unsigned mask, int yes, HERE) { return __ballot_sync(mask, yes, line) != 0; }
template <typename T>
T __reduce_add_sync(unsigned mask, T x, HERE) {
    const uint64_t* words = cpu::meet(cpu::word_of(x), mask, line);
    unsigned sum = 0;
    for (int lane = 0; lane < 32; lane++) sum += cpu::value_of<unsigned>(words[lane]);
    return T(sum);
}
inline unsigned __reduce_max_sync(unsigned mask, unsigned x, HERE) {
    const uint64_t* words = cpu::meet(x, mask, line);
    unsigned most = 0;
    for (int lane = 0; lane < 32; lane++) most = words[lane] > most ? unsigned(words[lane]) : most;
    return most;
}
inline unsigned __reduce_min_sync(unsigned mask, unsigned x, HERE) {
    return ~__reduce_max_sync(mask, ~x, line);
}

template <typename T>
T atomicAdd(T* at, T x) {
    T before = *at;
    *at = T(before + x);
    return before;
}
template <typename T>
T atomicMin(T* at, T x) {
    T before = *at;
    if (x < before) *at = x;
    return before;
}
