// Who goes on, and the list of those who do: a thread for a row.
//
// The list is in the order of rows, so a block must know how many rows before its own go on. Blocks
// take numbers, publish what they count as soon as they have it, and look back over the numbers
// before theirs until one has published a sum (Merrill and Garland, "Single-pass parallel prefix
// scan with decoupled look-back", 2016). A block waits only for lower numbers, whose blocks run
// already, so it cannot wait for ever. The last block to leave zeroes what was published.

#define BLOCK 1024
#define WARPS (BLOCK / LANES)
#define COUNTED 0x40000000u  // published: the rows of this block
#define SUMMED 0x80000000u   // published: the rows up to and with this block
#define NUMBER 0x3fffffffu

enum Decision { GO_ON, ANSWER, HOPELESS, PRICE, STEPS, BUDGET, UNDEFINED };

// 1 / (1 + exp(-x)) in millionths, rounded down.
__device__ int ppm_of(float x, const float* powers) {
    float part = exp_of(floored(-fabsf(x)), powers);
    float probability = (x >= 0.0f ? 1.0f : part) / (1.0f + part);
    return (int)(probability * 1000000.0f);
}

// Scratch: numbers taken, blocks that left, then one word for each block. By warp 0.
__device__ int rows_before(volatile unsigned* published, int block) {
    int lane = threadIdx.x % LANES, before = 0;
    for (int end = block;; end -= LANES) {
        int asked = end - 1 - lane;
        unsigned state;
        do state = asked < 0 ? SUMMED : published[asked];
        while (__any_sync(ALL_LANES, state == 0u));
        unsigned sums = __ballot_sync(ALL_LANES, state >= SUMMED);
        int last = sums ? __ffs(sums) - 1 : LANES - 1;
        before += __reduce_add_sync(ALL_LANES, lane <= last ? (int)(state & NUMBER) : 0);
        if (sums) return before;
    }
}

extern "C" __global__ void __launch_bounds__(BLOCK) halt(
    const float* now_logits, const float* ever_logits, const int* halt_ppms,
    const int* hopeless_ppms, const int* price_ppms, const int* steps_lefts,
    const long long* next_flops, const long long* left_flops, int rows, signed char* decisions,
    int* now_ppms, int* ever_ppms, int* live, int* n_live, unsigned* scratch) {
    __shared__ float powers[LANES];
    __shared__ int of_warp[LANES];
    __shared__ int block, before;
    int lane = threadIdx.x % LANES, warp = threadIdx.x / LANES;
    if (threadIdx.x == 0) block = gridDim.x > 1 ? (int)atomicAdd(scratch, 1u) : 0;
    load_powers(powers);

    int row = block * BLOCK + threadIdx.x;
    int decision = UNDEFINED;
    if (row < rows) {
        float now_logit = now_logits[row], ever_logit = ever_logits[row];
        int now = -1, ever = -1;
        if (now_logit == now_logit && ever_logit == ever_logit) {
            now = ppm_of(now_logit, powers);
            ever = ppm_of(ever_logit, powers);
            decision = now >= halt_ppms[row]                    ? ANSWER
                       : ever < hopeless_ppms[row]              ? HOPELESS
                       : ever - now <= price_ppms[row]          ? PRICE
                       : steps_lefts[row] < 1                   ? STEPS
                       : next_flops[row] > left_flops[row]      ? BUDGET
                                                                : GO_ON;
        }
        decisions[row] = (signed char)decision;
        now_ppms[row] = now;
        ever_ppms[row] = ever;
    }

    unsigned going = __ballot_sync(ALL_LANES, decision == GO_ON);
    if (lane == 0) of_warp[warp] = __popc(going);
    __syncthreads();
    int in_block = __reduce_add_sync(ALL_LANES, of_warp[lane]);
    int in_warps_before = __reduce_add_sync(ALL_LANES, lane < warp ? of_warp[lane] : 0);
    if (gridDim.x > 1 && warp == 0) {
        volatile unsigned* published = scratch + 2;
        if (lane == 0 && block > 0) published[block] = COUNTED | (unsigned)in_block;
        int found = rows_before(published, block);
        if (lane == 0) {
            before = found;
            published[block] = SUMMED | (unsigned)(found + in_block);
        }
    } else if (threadIdx.x == 0) {
        before = 0;
    }
    __syncthreads();
    // A row that goes on has its place from the front; one that stops leaves a -1 at the back.
    int place = before + in_warps_before + __popc(going & ((1u << lane) - 1u));
    if (row < rows) {
        if (decision == GO_ON)
            live[place] = row;
        else
            live[rows - 1 - (row - place)] = -1;
    }
    if (threadIdx.x == 0 && (block + 1) * BLOCK >= rows) *n_live = before + in_block;

    if (gridDim.x == 1 || threadIdx.x > 0) return;
    __threadfence();
    if (atomicAdd(scratch + 1, 1u) == gridDim.x - 1u)
        for (unsigned word = 0; word < gridDim.x + 2u; word++) scratch[word] = 0u;
}
