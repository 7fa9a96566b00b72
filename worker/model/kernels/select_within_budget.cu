// The best items that each request's budget covers: a block for a request.
//
// The score at which the budget ends is found a byte at a time, from the top: the costs of all items
// that agree with what is known so far are added by their next byte, and the highest byte at which
// the running sum would exceed the budget is the next one known. Then a last pass takes all items
// above that score, and among those equal to it, in the order of items, as many as still fit.
// Costs are integers, so the order in which they are added does not matter.

#define BLOCK 256
#define WARPS (BLOCK / LANES)
#define BINS 256

// Finds, by warp 0, the highest byte whose costs no longer fit; -1 if all fit. `left` falls by what
// lies above it.
__device__ int first_too_dear(const unsigned long long* bins, long long* left) {
    int lane = threadIdx.x % LANES;
    int highest = BINS - 1 - lane * (BINS / LANES);
    long long mine = 0;
    for (int k = 0; k < BINS / LANES; k++) mine += (long long)bins[highest - k];
    long long upto = mine;
    for (int step = 1; step < LANES; step *= 2) {
        long long other = __shfl_up_sync(ALL_LANES, upto, step);
        if (lane >= step) upto += other;
    }
    unsigned over = __ballot_sync(ALL_LANES, upto > *left);
    if (!over) return -1;
    int owner = __ffs(over) - 1, byte = highest;
    long long above = upto - mine;
    if (lane == owner)
        for (; above + (long long)bins[byte] <= *left; byte--) above += (long long)bins[byte];
    *left -= __shfl_sync(ALL_LANES, above, owner);
    return __shfl_sync(ALL_LANES, byte, owner);
}

// The sum of x over the threads up to and with this one; `total` gets that of all. Between two calls
// there must be a barrier: of_warp is used again.
__device__ long long running_sum(long long x, long long* of_warp, long long* total) {
    int lane = threadIdx.x % LANES, warp = threadIdx.x / LANES;
    for (int step = 1; step < LANES; step *= 2) {
        long long other = __shfl_up_sync(ALL_LANES, x, step);
        if (lane >= step) x += other;
    }
    if (lane == LANES - 1) of_warp[warp] = x;
    __syncthreads();
    *total = 0;
    for (int k = 0; k < WARPS; k++) {
        if (k == warp) x += *total;
        *total += of_warp[k];
    }
    return x;
}

extern "C" __global__ void __launch_bounds__(BLOCK) select_within_budget(
    const float* scores, const long long* costs, const int* offsets, const long long* budgets,
    bool* chosen, float* thresholds, long long* spent) {
    __shared__ unsigned long long bins[BINS];
    __shared__ long long of_warp[WARPS], left;
    __shared__ unsigned long long cost;
    __shared__ unsigned edge, lowest;
    __shared__ int found;
    int first = offsets[blockIdx.x], behind = offsets[blockIdx.x + 1];
    if (threadIdx.x == 0) {
        left = budgets[blockIdx.x];
        cost = 0ull;
        edge = 0u;
        lowest = 0xffffffffu;
    }
    // `edge`: the known bytes of the first score that does not fit; 0 is below every score.
    for (int shift = 24; shift >= 0; shift -= 8) {
        bins[threadIdx.x] = 0ull;
        __syncthreads();
        for (int item = first + threadIdx.x; item < behind; item += BLOCK) {
            unsigned key = key_of(scores[item]);
            bool agrees = shift == 24 || key >> (shift + 8) == edge >> (shift + 8);
            if (key != 0u && agrees)
                atomicAdd(bins + ((key >> shift) & 255u), (unsigned long long)costs[item]);
        }
        __syncthreads();
        if (threadIdx.x < LANES) {
            long long remaining = left;
            int byte = first_too_dear(bins, &remaining);
            if (threadIdx.x == 0) {
                found = byte;
                if (byte >= 0) edge |= (unsigned)byte << shift;
                left = remaining;
            }
        }
        __syncthreads();
        if (found < 0) break;  // everything fits; only the first round can find that
    }

    long long ties = 0, my_cost = 0;
    unsigned my_lowest = 0xffffffffu;
    for (int start = first; start < behind; start += BLOCK) {
        int item = start + threadIdx.x;
        unsigned key = item < behind ? key_of(scores[item]) : 0u;
        bool tie = key != 0u && key == edge, taken = key > edge;
        if (__syncthreads_or(tie)) {
            long long total;
            long long upto = ties + running_sum(tie ? costs[item] : 0, of_warp, &total);
            taken = taken || (tie && upto <= left);
            ties += total;
        }
        if (taken) {
            my_cost += costs[item];
            my_lowest = min(my_lowest, key);
        }
        if (item < behind) chosen[item] = taken;
    }
    atomicAdd(&cost, (unsigned long long)my_cost);
    atomicMin(&lowest, my_lowest);
    __syncthreads();
    if (threadIdx.x == 0) {
        thresholds[blockIdx.x] = lowest == 0xffffffffu ? infinity() : number_of(lowest);
        spent[blockIdx.x] = (long long)cost;
    }
}
