// Stage select: the top `count` slots of a whole model, exactly, ties to the lower (layer, KV head, position).
//
// | version                              | idea                                                      | H200, n = 32k |
// |--------------------------------------|-----------------------------------------------------------|---------------|
// | select_naive                         | a slot stays when fewer than `count` come before it       | not measured  |
// | select_{histogram,bin} three times,  | radix select over 11, 11 and 10 bits of the keys finds    | not measured  |
// | select_{count,scan,compact}          | the last key that stays and how many of its ties do; then |               |
// |                                      | an ordered compaction, 1024 slots a block                 |               |
//
// Slots are numbered in order: scores [layers, Hkv, n - w], heads = layers * Hkv. Whole numbers only, so every
// schedule gives the same result.

// A slot's normalised score as an integer of the same order; -0 ties with 0, and a zero stays zero whatever the sum.
__device__ inline u32 key_of(float score, float sum) {
    float normalised = score == 0.0f ? 0.0f : score / sum + 0.0f;
    u32 bits = __float_as_uint(normalised);
    return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

// Whether a key stands for a NaN or an infinity.
__device__ inline bool is_finite_key(u32 key) {
    u32 bits = key & 0x80000000u ? key : ~key;
    return (bits & 0x7f800000u) != 0x7f800000u;
}

// ---- naive -----------------------------------------------------------------------------------------------------------

// grid (ceil(slots / 128)), block 128: kept [slots]; `refused` becomes the first slot without a finite score.
extern "C" __global__ void __launch_bounds__(128)
select_naive(const float* scores, const float* sums, u32* kept, u32* refused, int layer_slots, int slots, u32 count) {
    int own = blockIdx.x * blockDim.x + threadIdx.x;
    if (own >= slots) return;
    u32 own_key = key_of(scores[own], sums[own / layer_slots]);
    if (!is_finite_key(own_key)) atomicMin(refused, own);
    u32 before = 0;
    for (int other = 0; other < slots; ++other) {
        u32 key = key_of(scores[other], sums[other / layer_slots]);
        before += key > own_key || (key == own_key && other < own);
    }
    kept[own] = before < count;
}

// ---- radix select ----------------------------------------------------------------------------------------------------

// What is known of the last key that stays: its leading digits, and how many of the keys that share them stay.
struct Cut {
    u32 leading, remaining;
};

enum { BINS = 2048 };

__device__ inline int digit_shift(int pass) { return pass == 0 ? 21 : pass == 1 ? 10 : 0; }
__device__ inline int digit_bits(int pass) { return pass == 2 ? 10 : 11; }

// grid (any), block 256: adds the keys that share the leading digits to histogram [BINS], by their next digit.
extern "C" __global__ void __launch_bounds__(256)
select_histogram(const float* scores, const float* sums, u32* histogram, const Cut* cut, u32* refused, int pass,
                 int layer_slots, int slots) {
    __shared__ u32 bins[BINS];
    for (int bin = threadIdx.x; bin < BINS; bin += 256) bins[bin] = 0;
    __syncthreads();

    int shift = digit_shift(pass), bits = digit_bits(pass);
    u32 leading = cut->leading;
    for (int slot = blockIdx.x * 256 + threadIdx.x; slot < slots; slot += gridDim.x * 256) {
        u32 key = key_of(scores[slot], sums[slot / layer_slots]);
        if (pass == 0 && !is_finite_key(key)) atomicMin(refused, slot);
        if (pass == 0 || key >> (shift + bits) == leading) atomicAdd(&bins[key >> shift & ((1 << bits) - 1)], 1);
    }
    __syncthreads();

    for (int bin = threadIdx.x; bin < BINS; bin += 256)
        if (bins[bin] != 0) atomicAdd(&histogram[bin], bins[bin]);
}

// Two counts that are added up together.
struct Counts {
    u32 above, equal;
};

// The sum over all threads before this one, of a block of 256; `total` gets the sum over all.
__device__ inline Counts scan_block(Counts own, Counts& total) {
    __shared__ u32 above[8], equal[8];
    Counts inclusive = own;
#pragma unroll
    for (int distance = 1; distance < 32; distance *= 2) {
        u32 other_above = __shfl_up_sync(~0u, inclusive.above, distance);
        u32 other_equal = __shfl_up_sync(~0u, inclusive.equal, distance);
        if (lane() >= distance) inclusive.above += other_above, inclusive.equal += other_equal;
    }
    if (lane() == 31) above[warp()] = inclusive.above, equal[warp()] = inclusive.equal;
    __syncthreads();
    Counts before{inclusive.above - own.above, inclusive.equal - own.equal};
    total = {0, 0};
    for (int part = 0; part < 8; ++part) {
        if (part < warp()) before.above += above[part], before.equal += equal[part];
        total.above += above[part], total.equal += equal[part];
    }
    return before;
}

// One block of 256: finds the bin of the last key that stays, appends its digit, empties the histogram.
extern "C" __global__ void __launch_bounds__(256) select_bin(u32* histogram, Cut* cut, int pass) {
    int bits = digit_bits(pass);
    int per_thread = (1 << bits) / 256;
    int highest = (1 << bits) - 1 - threadIdx.x * per_thread;
    u32 leading = cut->leading, remaining = cut->remaining;
    u32 own = 0;
    for (int e = 0; e < per_thread; ++e) own += histogram[highest - e];

    Counts total;
    u32 before = scan_block({own, 0}, total).above;
    for (int e = 0; e < per_thread; ++e) {
        u32 keys = histogram[highest - e];
        histogram[highest - e] = 0;
        if (before < remaining && remaining <= before + keys) {
            cut->leading = (leading << bits) + highest - e;
            cut->remaining = remaining - before;
        }
        before += keys;
    }
}

enum { CHUNK = 1024 };

// What a thread of a block of 256 sees of its chunk: four neighbouring slots of one head.
struct Slots {
    int first, end;
    u32 keys[4];

    __device__ Slots(const float* scores, const float* sums, int kv_heads, int candidates) {
        int head = blockIdx.y;
        float sum = sums[head / kv_heads];
        first = blockIdx.x * CHUNK + 4 * threadIdx.x;
        end = candidates;
#pragma unroll
        for (int e = 0; e < 4; ++e)
            keys[e] = first + e < end ? key_of(scores[head * candidates + first + e], sum) : 0;
    }

    __device__ Counts count(u32 last_key) const {
        Counts counts{0, 0};
#pragma unroll
        for (int e = 0; e < 4; ++e)
            if (first + e < end) counts.above += keys[e] > last_key, counts.equal += keys[e] == last_key;
        return counts;
    }
};

// grid (ceil((n - w) / CHUNK), heads), block 256: chunks [heads, grid x].
extern "C" __global__ void __launch_bounds__(256)
select_count(const float* scores, const float* sums, const Cut* cut, Counts* chunks, int kv_heads, int candidates) {
    Slots slots(scores, sums, kv_heads, candidates);
    Counts total;
    scan_block(slots.count(cut->leading), total);
    if (threadIdx.x == 0) chunks[blockIdx.y * gridDim.x + blockIdx.x] = total;
}

// One block of 256: chunks [heads, per_head] become the sums before them; offsets [heads + 1] say where the retained
// positions of a head start, its window included.
extern "C" __global__ void __launch_bounds__(256)
select_scan(Counts* chunks, const Cut* cut, u32* offsets, int heads, int per_head, int window_len) {
    int count = heads * per_head;
    int per_thread = (count + 255) / 256;
    int first = threadIdx.x * per_thread, end = min(first + per_thread, count);
    Counts own{0, 0}, total;
    for (int chunk = first; chunk < end; ++chunk) {
        own.above += chunks[chunk].above;
        own.equal += chunks[chunk].equal;
    }
    Counts before = scan_block(own, total);
    for (int chunk = first; chunk < end; ++chunk) {
        Counts here = chunks[chunk];
        chunks[chunk] = before;
        int head = chunk / per_head;
        if (chunk % per_head == 0)
            offsets[head] = before.above + min(before.equal, cut->remaining) + head * window_len;
        before.above += here.above;
        before.equal += here.equal;
    }
    if (threadIdx.x == 0) offsets[heads] = total.above + min(total.equal, cut->remaining) + heads * window_len;
}

// As select_count: positions [offsets[heads]], ascending within each head, its window last.
extern "C" __global__ void __launch_bounds__(256)
select_compact(const float* scores, const float* sums, const Cut* cut, const Counts* chunks, const u32* offsets,
               u32* positions, int kv_heads, int candidates, int window_len) {
    Slots slots(scores, sums, kv_heads, candidates);
    u32 last_key = cut->leading, ties = cut->remaining;
    Counts total;
    Counts before = scan_block(slots.count(last_key), total);
    Counts chunk = chunks[blockIdx.y * gridDim.x + blockIdx.x];
    before.above += chunk.above;
    before.equal += chunk.equal;
    int head = blockIdx.y;
#pragma unroll
    for (int e = 0; e < 4; ++e) {
        if (slots.first + e >= candidates) break;
        bool above = slots.keys[e] > last_key, equal = slots.keys[e] == last_key;
        if (above || (equal && before.equal < ties))
            positions[before.above + min(before.equal, ties) + head * window_len] = slots.first + e;
        before.above += above;
        before.equal += equal;
    }
    if (blockIdx.x == 0)
        for (int row = threadIdx.x; row < window_len; row += 256)
            positions[offsets[head + 1] - window_len + row] = candidates + row;
}
