// Softmax over the experts, then the fewest of them that reach top_p: a warp for a token.
//
// Lane l holds the experts l and l + 32. The best that is left is found by one maximum over the
// warp on keys that order like the logits, and two ballots say who holds it; the lower half is asked
// first and the lowest lane answers, so that among equals the lowest index wins.

extern "C" __global__ void __launch_bounds__(256) route(
    const float* logits, const float* top_ps, const int* experts_maxs, int rows, int n_experts,
    int width, signed char* experts, float* weights, int* counts, float* margins) {
    __shared__ float powers[LANES];
    load_powers(powers);
    int lane = threadIdx.x % LANES;
    long long row = (long long)blockIdx.x * (blockDim.x / LANES) + threadIdx.x / LANES;
    if (row >= rows) return;

    const float* mine = logits + row * n_experts;
    float low = lane < n_experts ? mine[lane] : -infinity();
    float high = lane + LANES < n_experts ? mine[lane + LANES] : -infinity();
    unsigned low_key = key_of(low), high_key = key_of(high);
    unsigned broken = __ballot_sync(ALL_LANES, low_key == 0u || high_key == 0u);
    float top = number_of(__reduce_max_sync(ALL_LANES, max(low_key, high_key)));

    int count = 0;
    float reached = 0.0f, margin = not_a_number();
    // The choices in columns `lane` and `lane + 32` of the result.
    int expert = -1, far_expert = -1;
    float part = 0.0f, far_part = 0.0f;
    if (!broken && is_finite(top)) {
        float low_part = exp_of(floored(low - top), powers);
        float high_part = exp_of(floored(high - top), powers);
        float total = warp_sum(low_part + high_part);
        int available = __popc(__ballot_sync(ALL_LANES, low_part > 0.0f)) +
                        __popc(__ballot_sync(ALL_LANES, high_part > 0.0f));
        int limit = min(min(max(experts_maxs[row], 1), width), available);
        float wanted = top_ps[row] * total;
        float nearest = infinity(), last = 0.0f;
        while (count < available) {
            unsigned best = __reduce_max_sync(ALL_LANES, max(low_key, high_key));
            unsigned in_low = __ballot_sync(ALL_LANES, low_key == best);
            unsigned in_high = __ballot_sync(ALL_LANES, high_key == best);
            int owner = __ffs(in_low ? in_low : in_high) - 1;
            float next = __shfl_sync(ALL_LANES, in_low ? low_part : high_part, owner);
            bool stop = count == limit;
            if (!stop && count > 0) {
                nearest = fminf(nearest, fabsf(reached - wanted));
                stop = reached >= wanted;
            }
            if (stop) {
                nearest = fminf(nearest, last - next);
                break;
            }
            if (lane == owner) {
                if (in_low) low_key = 0u; else high_key = 0u;
            }
            int found = in_low ? owner : owner + LANES;
            if (lane == count) expert = found, part = next;
            if (lane == count - LANES) far_expert = found, far_part = next;
            reached += next;
            last = next;
            count++;
        }
        margin = nearest / total;
    }
    if (lane < width) {
        experts[row * width + lane] = (signed char)expert;
        weights[row * width + lane] = lane < count ? part / reached : 0.0f;
    }
    if (lane + LANES < width) {
        experts[row * width + lane + LANES] = (signed char)far_expert;
        weights[row * width + lane + LANES] = lane + LANES < count ? far_part / reached : 0.0f;
    }
    if (lane == 0) {
        counts[row] = count;
        margins[row] = margin;
    }
}
