// The entries of each expert, in order: a block for an expert, and one for the unused entries.
//
// Every block reads all choices (a byte each, so even 131,072 of them are 128 kB from the second
// level cache), counts those of lower experts, which is where its own begin, and writes its own. No
// block waits for another, nothing is zeroed, and one launch does it.

#define BLOCK 1024
#define CHOICES 16  // one load
#define HIGH_BITS 0x80808080u

// The high bit of each byte that is an expert below `expert` (0 to 64).
__device__ unsigned below(unsigned four, int expert) {
    unsigned not_below = ((four & ~HIGH_BITS) | HIGH_BITS) - (unsigned)expert * 0x01010101u;
    return ~not_below & ~four & HIGH_BITS;
}

// The high bit of each byte that is this block's: its expert, or for the last block none at all.
__device__ unsigned own(unsigned four, int expert, int n_experts) {
    unsigned upto = expert < n_experts ? below(four, expert + 1) : HIGH_BITS;
    return upto & ~below(four, expert);
}

// Sixteen choices from `start` on, and the high bit of each of them that exists.
__device__ void load_choices(const signed char* choices, int start, int n, unsigned* four,
                             unsigned* exist) {
    if (start + CHOICES <= n && (unsigned long long)choices % CHOICES == 0) {
        uint4 loaded = *(const uint4*)(choices + start);
        four[0] = loaded.x, four[1] = loaded.y, four[2] = loaded.z, four[3] = loaded.w;
        for (int k = 0; k < 4; k++) exist[k] = HIGH_BITS;
        return;
    }
    for (int k = 0; k < 4; k++) {
        four[k] = exist[k] = 0u;
        for (int byte = 0; byte < 4; byte++) {
            int entry = start + 4 * k + byte;
            if (entry >= n) continue;
            four[k] |= (unsigned)(unsigned char)choices[entry] << (8 * byte);
            exist[k] |= 0x80u << (8 * byte);
        }
    }
}

extern "C" __global__ void __launch_bounds__(BLOCK) sort_by_expert(
    const signed char* choices, int n, int n_experts, int* entries, int* offsets) {
    __shared__ int lower_of_warp[LANES], own_of_warp[LANES];
    int expert = blockIdx.x, lane = threadIdx.x % LANES, warp = threadIdx.x / LANES;
    // Each thread has a run of choices, so that runs in the order of threads are in the order of
    // entries.
    int loads = (n + BLOCK * CHOICES - 1) / (BLOCK * CHOICES);
    int first = min((int)threadIdx.x * loads * CHOICES, n);
    int behind = min(first + loads * CHOICES, n);
    unsigned four[4], exist[4];

    int lower = 0, mine = 0;
    for (int start = first; start < behind; start += CHOICES) {
        load_choices(choices, start, n, four, exist);
        for (int k = 0; k < 4; k++) {
            lower += __popc(below(four[k], expert) & exist[k]);
            mine += __popc(own(four[k], expert, n_experts) & exist[k]);
        }
    }
    int upto = mine;  // of this lane and those before it
    for (int step = 1; step < LANES; step *= 2) {
        int other = __shfl_up_sync(ALL_LANES, upto, step);
        if (lane >= step) upto += other;
    }
    lower = __reduce_add_sync(ALL_LANES, lower);
    if (lane == LANES - 1) {
        lower_of_warp[warp] = lower;
        own_of_warp[warp] = upto;
    }
    __syncthreads();
    int offset = __reduce_add_sync(ALL_LANES, lower_of_warp[lane]);
    int before = __reduce_add_sync(ALL_LANES, lane < warp ? own_of_warp[lane] : 0);
    if (threadIdx.x == 0) offsets[expert] = offset;

    int place = offset + before + upto - mine;
    for (int start = first; start < behind && mine > 0; start += CHOICES) {
        load_choices(choices, start, n, four, exist);
        for (int k = 0; k < 4; k++) {
            unsigned found = own(four[k], expert, n_experts) & exist[k];
            for (; found; found &= found - 1u) {
                int entry = start + 4 * k + (__ffs(found) - 1) / 8;
                entries[place++] = expert < n_experts ? entry : -1;
            }
        }
    }
}
