// Stage select: the top `count` slots of a whole model, exactly, ties to the lower (layer, KV head, position).
//
// | version                              | idea                                                      | H200, n = 32k |
// |--------------------------------------|-----------------------------------------------------------|---------------|
// | select_naive                         | a slot stays when fewer than `count` come before it       | not measured  |
// | select_{histogram,narrow,refine},    | radix select over 11, 11 and 10 bits of the keys finds    | 0.083 ms      |
// | select_{count,compact}               | the last key that stays and how many of its ties do; then |               |
// |                                      | an ordered compaction, 4096 slots at a time               |               |
//
// Slots are numbered in order: scores [layers, Hkv, n - w], heads = layers * Hkv. All counts are whole numbers, so every
// schedule gives the same result.

// A slot's normalised score as an integer of the same order. -0 ties with 0, and a zero stays zero for any sum.
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

// grid (ceil(slots / 128)), block 128: kept [slots]. `refused` becomes the first slot without a finite score.
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
//
// Five kernels. `select_histogram` reads every score for the first digit. `select_narrow` reads them again: it sets aside the
// keys that share that digit, counts those above, and marks both. `select_refine` and `select_count` read only the keys that
// were set aside, for the other digits. `select_compact` finds the place of each position from the counts before its chunk
// and the marks, without the scores. Every block of a kernel finds the digit of the histogram that the kernel before filled.

// The last key that stays, as far as it is known: its leading digits, and how many of the keys that share them stay.
struct Cut {
    u32 leading, remaining;
};

enum { THREADS = 512, EACH = 8, CHUNK = THREADS * EACH, BINS = 2048, COPIES = 4 };

__device__ inline int digit_shift(int pass) { return pass == 0 ? 21 : pass == 1 ? 10 : 0; }
__device__ inline int digit_bits(int pass) { return pass == 2 ? 10 : 11; }

// Two counts that are added up together.
struct Counts {
    u32 above, equal;
};

// The sum over all threads of a block before this one. `total` gets the sum over all threads. Calls without a barrier
// between them take turns with `place`.
__device__ inline u32 scan_block(u32 own, u32& total, int place) {
    __shared__ u32 parts[2][THREADS / 32];
    u32 inclusive = own;
#pragma unroll
    for (int distance = 1; distance < 32; distance *= 2) {
        u32 other = __shfl_up_sync(~0u, inclusive, distance);
        if (lane() >= distance) inclusive += other;
    }
    if (lane() == 31) parts[place][warp()] = inclusive;
    __syncthreads();
    u32 before = inclusive - own;
    total = 0;
#pragma unroll
    for (int part = 0; part < THREADS / 32; ++part) {
        u32 here = parts[place][part];
        if (part < warp()) before += here;
        total += here;
    }
    return before;
}

// The same for both counts of a chunk at once: 16 bits are enough for either.
__device__ inline Counts scan_chunk(Counts own, Counts& total, int place) {
    u32 sum, before = scan_block(own.above | own.equal << 16, sum, place);
    total = {sum & 0xffff, sum >> 16};
    return {before & 0xffff, before >> 16};
}

// Appends the next digit of the last key that stays, from a histogram of the keys that share its leading digits.
__device__ inline Cut next_cut(const u32* histogram, Cut cut, int pass) {
    __shared__ u32 found[2];
    int bits = digit_bits(pass);
    int per_thread = (1 << bits) / THREADS;
    int highest = (1 << bits) - 1 - threadIdx.x * per_thread;
    u32 own = 0;
    for (int e = 0; e < per_thread; ++e) own += histogram[highest - e];

    u32 total, before = scan_block(own, total, 0);
    for (int e = 0; e < per_thread; ++e) {
        u32 keys = histogram[highest - e];
        if (before < cut.remaining && cut.remaining <= before + keys)
            found[0] = (cut.leading << bits) + highest - e, found[1] = cut.remaining - before;
        before += keys;
    }
    __syncthreads();
    return {found[0], found[1]};
}

// The chunks of a model, `CHUNK` neighbouring slots of one head each, and a block's share of them.
struct Chunks {
    int per_head, first, end;

    __device__ Chunks(int heads, int candidates) {
        per_head = (candidates + CHUNK - 1) / CHUNK;
        int count = heads * per_head;
        int each = (count + gridDim.x - 1) / gridDim.x;
        first = min((int)blockIdx.x * each, count);
        end = min(first + each, count);
    }
};

// A thread's part of a chunk: neighbouring slots of one head.
struct Slots {
    int head, first, count;
    u32 keys[EACH];

    __device__ Slots(const float* scores, const float* sums, const Chunks& chunks, int chunk, int kv_heads,
                     int candidates) {
        head = chunk / chunks.per_head;
        first = chunk % chunks.per_head * CHUNK + EACH * threadIdx.x;
        count = min(max(candidates - first, 0), (int)EACH);
        float sum = sums[head / kv_heads];
        const float* own = scores + head * candidates + first;
        float numbers[EACH] = {};
        if (candidates % 4 == 0) {
#pragma unroll
            for (int e = 0; e < EACH; e += 4)
                if (e < count) {
                    float4 four = *(const float4*)(own + e);
                    numbers[e] = four.x, numbers[e + 1] = four.y, numbers[e + 2] = four.z, numbers[e + 3] = four.w;
                }
        } else {
#pragma unroll
            for (int e = 0; e < EACH; ++e)
                if (e < count) numbers[e] = own[e];
        }
#pragma unroll
        for (int e = 0; e < EACH; ++e) keys[e] = key_of(numbers[e], sum);
    }

    // The slots whose leading digits, all but the last `shift` bits, are above `leading`, and those where they are equal.
    __device__ Counts marks(u32 leading, int shift) const {
        Counts marks{0, 0};
#pragma unroll
        for (int e = 0; e < EACH; ++e) {
            u32 bit = e < count ? 1 << e : 0;
            if (keys[e] >> shift > leading) marks.above |= bit;
            if (keys[e] >> shift == leading) marks.equal |= bit;
        }
        return marks;
    }

    __device__ bool are_finite() const {
        u32 least = keys[0], largest = keys[0];
#pragma unroll
        for (int e = 1; e < EACH; ++e) least = min(least, keys[e]), largest = max(largest, keys[e]);
        return is_finite_key(least) && is_finite_key(largest);
    }
};

__device__ inline Counts count_marks(Counts marks) {
    return {(u32)__popc(marks.above), (u32)__popc(marks.equal)};
}

// A histogram of a block in shared memory. Lanes of equal remainder share a copy: many keys have the same leading digits.
struct Histogram {
    u32* bins;

    __device__ void clear() {
        for (int bin = threadIdx.x; bin < BINS * COPIES; bin += THREADS) bins[bin] = 0;
    }

    __device__ void count(u32 key, int pass) {
        atomicAdd(&bins[(key >> digit_shift(pass) & ((1 << digit_bits(pass)) - 1)) * COPIES + lane() % COPIES], 1);
    }

    // Behind a barrier.
    __device__ void add_to(u32* histogram) const {
        for (int bin = threadIdx.x; bin < BINS; bin += THREADS) {
            u32 sum = 0;
#pragma unroll
            for (int copy = 0; copy < COPIES; ++copy) sum += bins[bin * COPIES + copy];
            if (sum != 0) atomicAdd(&histogram[bin], sum);
        }
    }
};

// All kernels: grid (any), block 512. histograms [3, BINS] are empty before and after, cuts [3]. Per chunk: `narrowed` counts
// the keys above the cut's first digit and with it, `counts` those above the whole cut and on it. aside [CHUNK] are the keys
// with that digit in order. marks [THREADS] tell of 8 slots which are above it (8 bits), which have it (8 bits), and how many
// before them in the chunk have it.

// Fills the first histogram, and clears `refused`.
extern "C" __global__ void __launch_bounds__(THREADS)
select_histogram(const float* scores, const float* sums, u32* histograms, u32* refused, int kv_heads, int heads,
                 int candidates) {
    __shared__ u32 bins[BINS * COPIES];
    Histogram histogram{bins};
    histogram.clear();
    if (blockIdx.x == 0 && threadIdx.x == 0) *refused = ~0u;
    __syncthreads();

    Chunks chunks(heads, candidates);
    for (int chunk = chunks.first; chunk < chunks.end; ++chunk) {
        Slots slots(scores, sums, chunks, chunk, kv_heads, candidates);
#pragma unroll
        for (int e = 0; e < EACH; ++e)
            if (e < slots.count) histogram.count(slots.keys[e], 0);
    }
    __syncthreads();
    histogram.add_to(histograms);
}

// Sets aside the keys that share the first digit, marks and counts these and those above, and fills the second histogram.
// `refused` becomes the first slot without a finite score.
extern "C" __global__ void __launch_bounds__(THREADS)
select_narrow(const float* scores, const float* sums, u32* histograms, Cut* cuts, Counts* narrowed, u32* aside, u32* marks,
              u32* refused, int retained, int kv_heads, int heads, int candidates) {
    __shared__ u32 bins[BINS * COPIES];
    Histogram histogram{bins};
    histogram.clear();
    Cut cut = next_cut(histograms, {0, (u32)retained}, 0);
    if (blockIdx.x == 0 && threadIdx.x == 0) cuts[0] = cut;

    Chunks chunks(heads, candidates);
    for (int chunk = chunks.first; chunk < chunks.end; ++chunk) {
        Slots slots(scores, sums, chunks, chunk, kv_heads, candidates);
        Counts own = slots.marks(cut.leading, digit_shift(0));
        Counts all, before = scan_chunk(count_marks(own), all, 1 - (chunk - chunks.first) % 2);
        if (threadIdx.x == 0) narrowed[chunk] = all;
        marks[chunk * THREADS + threadIdx.x] = own.above | own.equal << 8 | before.equal << 16;
#pragma unroll
        for (int e = 0; e < EACH; ++e)
            if (own.equal >> e & 1) {
                aside[chunk * CHUNK + before.equal++] = slots.keys[e];
                histogram.count(slots.keys[e], 1);
            }
        if (slots.are_finite()) continue;
#pragma unroll
        for (int e = 0; e < EACH; ++e)
            if (e < slots.count && !is_finite_key(slots.keys[e])) atomicMin(refused, slots.head * candidates + slots.first + e);
    }
    __syncthreads();
    histogram.add_to(histograms + BINS);
}

// Fills the third histogram from the keys that were set aside.
extern "C" __global__ void __launch_bounds__(THREADS)
select_refine(u32* histograms, Cut* cuts, const Counts* narrowed, const u32* aside, int heads, int candidates) {
    __shared__ u32 bins[BINS * COPIES];
    Histogram histogram{bins};
    histogram.clear();
    Cut cut = next_cut(histograms + BINS, cuts[0], 1);
    if (blockIdx.x == 0 && threadIdx.x == 0) cuts[1] = cut;

    Chunks chunks(heads, candidates);
    for (int chunk = chunks.first; chunk < chunks.end; ++chunk)
        for (int e = threadIdx.x; e < narrowed[chunk].equal; e += THREADS) {
            u32 key = aside[chunk * CHUNK + e];
            if (key >> digit_shift(1) == cut.leading) histogram.count(key, 2);
        }
    __syncthreads();
    histogram.add_to(histograms + 2 * BINS);
}

// Counts the keys that were set aside by the whole cut.
extern "C" __global__ void __launch_bounds__(THREADS)
select_count(const u32* histograms, Cut* cuts, const Counts* narrowed, const u32* aside, Counts* counts, int heads,
             int candidates) {
    Cut cut = next_cut(histograms + 2 * BINS, cuts[1], 2);
    if (blockIdx.x == 0 && threadIdx.x == 0) cuts[2] = cut;

    // One warp per chunk.
    Chunks chunks(heads, candidates);
    for (int chunk = chunks.first + warp(); chunk < chunks.end; chunk += THREADS / 32) {
        Counts narrow = narrowed[chunk];
        u32 above = 0, equal = 0;
        for (int e = lane(); e < narrow.equal; e += 32) {
            u32 key = aside[chunk * CHUNK + e];
            above += key > cut.leading, equal += key == cut.leading;
        }
#pragma unroll
        for (int bit = 16; bit > 0; bit /= 2) {
            above += __shfl_xor_sync(~0u, above, bit);
            equal += __shfl_xor_sync(~0u, equal, bit);
        }
        if (lane() == 0) counts[chunk] = {narrow.above + above, equal};
    }
}

// The first `count` of some marks.
__device__ inline u32 first_marks(u32 marks, int count) {
    while (__popc(marks) > count) marks &= ~(0x80000000u >> __clz(marks));
    return marks;
}

// Writes the positions, ascending within each head, its window last. offsets [heads + 1] are the heads' first ones. Empties
// the histograms.
extern "C" __global__ void __launch_bounds__(THREADS)
select_compact(u32* histograms, const Cut* cuts, const Counts* counts, const u32* aside, const u32* marks, u32* offsets,
               u32* positions, int heads, int candidates, int window_len) {
    for (int bin = blockIdx.x * THREADS + threadIdx.x; bin < 3 * BINS; bin += gridDim.x * THREADS) histograms[bin] = 0;

    Chunks chunks(heads, candidates);
    Counts sum{0, 0}, before;
    for (int chunk = threadIdx.x; chunk < chunks.first; chunk += THREADS) {
        sum.above += counts[chunk].above;
        sum.equal += counts[chunk].equal;
    }
    scan_block(sum.above, before.above, 0);
    scan_block(sum.equal, before.equal, 1);

    Cut cut = cuts[2];
    for (int chunk = chunks.first; chunk < chunks.end; ++chunk) {
        u32 marked = marks[chunk * THREADS + threadIdx.x];
        Counts own{marked & 0xff, 0};
        const u32* key = aside + chunk * CHUNK + (marked >> 16);
        for (u32 left = marked >> 8 & 0xff; left != 0; left &= left - 1, ++key) {
            u32 bit = left & -left;
            if (*key > cut.leading) own.above |= bit;
            if (*key == cut.leading) own.equal |= bit;
        }
        Counts inside, here = scan_chunk(count_marks(own), inside, (chunk - chunks.first) % 2);
        here.above += before.above;
        here.equal += before.equal;

        int head = chunk / chunks.per_head, first_place = head * window_len;
        int ties = min(here.equal, cut.remaining);
        u32 kept = own.above | first_marks(own.equal, cut.remaining - ties);
        u32* place = positions + first_place + here.above + ties;
        int position = chunk % chunks.per_head * CHUNK + EACH * threadIdx.x;
#pragma unroll
        for (int e = 0; e < EACH; ++e)
            if (kept >> e & 1) *place++ = position + e;

        if (chunk % chunks.per_head == 0 && threadIdx.x == 0)
            offsets[head] = first_place + before.above + min(before.equal, cut.remaining);
        before.above += inside.above;
        before.equal += inside.equal;
        if ((chunk + 1) % chunks.per_head != 0) continue;
        int end = first_place + before.above + min(before.equal, cut.remaining);
        for (int row = threadIdx.x; row < window_len; row += THREADS) positions[end + row] = candidates + row;
        if (head + 1 == heads && threadIdx.x == 0) offsets[heads] = end + window_len;
    }
}
