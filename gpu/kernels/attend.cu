// Stage attend: statistics of the window's attention to each key, without storing A.
//
//     A_h = softmax(Q_h K^T * scale + causal mask),    per column i:  sum_t A_h[t,i]^2,  sum_t A_h[t,i] or max_t A_h[t,i]
//
// Two passes over K. Rows first: the online softmax of each row, its largest logit and its sum of exponentials, one part
// per split of the keys. Then columns: logits again, weights from the parts, reduced over the rows to one of the three
// statistics.
//
// | version                        | idea                                                             | H200, n = 32k |
// |--------------------------------|------------------------------------------------------------------|---------------|
// | attend_{rows,columns}_naive    | one block per row, one thread per column; f32, any shape         | not measured  |
// | attend_{rows,columns}_TYPE_dD  | one warp per query head, its 32 rows in registers; K tiles by    | 2.17 ms       |
// |                                | cp.async in 3 stages; tensor cores; columns reduced by shuffles  |               |
//
// Positions: row r of the window is at n - w + r and sees the keys up to its own. `scale_log2` is scale * log2(e).

// ---- naive -----------------------------------------------------------------------------------------------------------

__device__ inline float dot(const float* one, const float* two, int length) {
    float sum = 0.0f;
    for (int k = 0; k < length; ++k) sum = fmaf(one[k], two[k], sum);
    return sum;
}

// grid (w, H), block 128: row_max, row_sum [H, w].
extern "C" __global__ void __launch_bounds__(128)
attend_rows_naive(const float* query, const float* key, float* row_max, float* row_sum, int group_size, int window_len,
                  int context_len, int cached_len, float scale_log2, int head_dim) {
    __shared__ float part_max[128], part_sum[128];
    int row = blockIdx.x, head = blockIdx.y;
    const float* q = query + (head * window_len + row) * head_dim;
    const float* keys = key + head / group_size * cached_len * head_dim;
    int own_position = context_len - window_len + row;

    float largest = MINUS_INFINITY, sum = 0.0f;
    for (int i = threadIdx.x; i <= own_position; i += blockDim.x) {
        float logit = dot(q, keys + i * head_dim, head_dim);
        float larger = fmaxf(largest, logit);
        sum = sum * exp2_approx((largest - larger) * scale_log2) + exp2_approx((logit - larger) * scale_log2);
        largest = larger;
    }
    part_max[threadIdx.x] = largest;
    part_sum[threadIdx.x] = sum;
    __syncthreads();

    if (threadIdx.x == 0) {
        for (int part = 1; part < blockDim.x; ++part) largest = fmaxf(largest, part_max[part]);
        sum = 0.0f;
        for (int part = 0; part < blockDim.x; ++part)
            sum += part_sum[part] * exp2_approx((part_max[part] - largest) * scale_log2);
        row_max[head * window_len + row] = largest;
        row_sum[head * window_len + row] = sum;
    }
}

// A_h[t, i] for a key that row t sees.
__device__ inline float weight(const float* query, const float* key, float row_max, float row_sum, int head_dim,
                               float scale_log2) {
    return exp2_approx((dot(query, key, head_dim) - row_max) * scale_log2) / row_sum;
}

// The statistics of a column.
enum Statistic { SQUARES, SUMS, MAXIMA };

// grid (ceil((n - w) / 128), H), block 128: columns [H, n - w].
extern "C" __global__ void __launch_bounds__(128)
attend_columns_naive(const float* query, const float* key, const float* row_max, const float* row_sum, float* columns,
                     int statistic, int group_size, int window_len, int context_len, int cached_len, float scale_log2,
                     int head_dim) {
    int candidates = context_len - window_len;
    int i = blockIdx.x * blockDim.x + threadIdx.x, head = blockIdx.y;
    if (i >= candidates) return;
    const float* own_key = key + (head / group_size * cached_len + i) * head_dim;

    float column = 0.0f;
    for (int row = head * window_len; row < (head + 1) * window_len; ++row) {
        float a = weight(query + row * head_dim, own_key, row_max[row], row_sum[row], head_dim, scale_log2);
        column = statistic == SQUARES ? fmaf(a, a, column) : statistic == SUMS ? column + a : fmaxf(column, a);
    }
    columns[head * candidates + i] = column;
}

// grid (ceil((n - w) / 128), Hkv), block 128: sum over rows of (mean over the group of A_h[t,i])^2, [Hkv, n - w].
extern "C" __global__ void __launch_bounds__(128)
attend_group_naive(const float* query, const float* key, const float* row_max, const float* row_sum, float* squares,
                   int group_size, int window_len, int context_len, int cached_len, float scale_log2, int head_dim) {
    int candidates = context_len - window_len;
    int i = blockIdx.x * blockDim.x + threadIdx.x, kv_head = blockIdx.y;
    if (i >= candidates) return;
    const float* own_key = key + (kv_head * cached_len + i) * head_dim;

    float square = 0.0f;
    for (int t = 0; t < window_len; ++t) {
        float sum = 0.0f;
        for (int head = kv_head * group_size; head < (kv_head + 1) * group_size; ++head) {
            int row = head * window_len + t;
            sum += weight(query + row * head_dim, own_key, row_max[row], row_sum[row], head_dim, scale_log2);
        }
        float mean = sum / group_size;
        square = fmaf(mean, mean, square);
    }
    squares[kv_head * candidates + i] = square;
}

// ---- tensor cores ----------------------------------------------------------------------------------------------------
//
// A warp takes 32 rows of one query head (two tiles of 16), and a block the heads of one KV head, so that K is read once.
// There are three stages of 64 keys: while one is multiplied, two are loaded. A warp holds the logits of 32 keys of a stage
// at a time (four tiles of 8). A longer window takes more row tiles (blockIdx.z), and the reader of their column statistics
// adds these up.

enum { ROWS = 32, KEYS = 64, STEP = 32, STAGES = 3 };

// The place of 16-byte chunk `chunk` of key `row` in a stage. Odd rows swap their halves, so that the 8 lanes that read
// together touch all 32 banks.
template <int D>
__device__ inline int place(int row, int chunk) {
    return row * (D / 8) + (chunk ^ (row % 2 * 4));
}

// A thread copies one chunk of every so many rows. That number is even, so that the chunks have the same place in each.
template <int D>
__device__ inline void fetch_keys(uint4* stage, const uint4* keys, int first, int limit) {
    constexpr int CHUNKS = D / 8;
    int row = threadIdx.x / CHUNKS, chunk = threadIdx.x % CHUNKS;
    uint4* to = stage + place<D>(row, chunk);
    const uint4* from = keys + (first + row) * CHUNKS + chunk;
    for (; row < KEYS; row += blockDim.x / CHUNKS, to += blockDim.x, from += blockDim.x)
        copy_async(to, first + row < limit ? from : keys, first + row < limit);
}

// The rows of a warp, 16 per tile: lane 4 g + q holds rows g, g + 8, g + 16 and so on, and 16 of every 64 bytes of these.
// They are read word by word, each to its operand's register. Reads of 16 bytes would make every product move four.
template <int D>
struct Rows {
    u32 words[2][D / 32][2][4];

    __device__ void load(const uint4* query, int first, int limit) {
        const u32* query_words = (const u32*)query;
#pragma unroll
        for (int tile = 0; tile < 2; ++tile)
#pragma unroll
            for (int half = 0; half < 2; ++half) {
                int row = first + 16 * tile + 8 * half + lane() / 4;
#pragma unroll
                for (int c = 0; c < D / 32; ++c)
#pragma unroll
                    for (int word = 0; word < 4; ++word) {
                        u32& own = words[tile][c][word / 2][word % 2 * 2 + half];
                        own = 0;
                        if (row < limit) own = query_words[row * (D / 2) + 16 * c + 4 * (lane() % 4) + word];
                    }
            }
    }
};

// The logits of a warp's rows and 32 keys, before scaling: lane 4 g + q holds [tile][j][2 * half + b], of row
// 16 tile + 8 half + g and key 8 j + 2 q + b.
template <typename E, int D>
__device__ inline void logits(float (&s)[2][4][4], const Rows<D>& rows, const uint4* stage, int first) {
#pragma unroll
    for (int tile = 0; tile < 2; ++tile)
#pragma unroll
        for (int j = 0; j < 4; ++j)
#pragma unroll
            for (int e = 0; e < 4; ++e) s[tile][j][e] = 0.0f;
    // place(first + 8 j + g, 4 c + q), where only g and q are not compile-time constants.
    int swap = lane() / 4 % 2 * 4;
    const uint4* own = stage + lane() / 4 * (D / 8) + lane() % 4;
#pragma unroll
    for (int c = 0; c < D / 32; ++c) {
        const uint4* column = own + (c % 2 == 0 ? swap : -swap);
        uint4 key[4];
#pragma unroll
        for (int j = 0; j < 4; ++j) key[j] = column[(first + 8 * j) * (D / 8) + 4 * c];
#pragma unroll
        for (int step = 0; step < 2; ++step)
#pragma unroll
            for (int j = 0; j < 4; ++j)
#pragma unroll
                for (int tile = 0; tile < 2; ++tile) mma_step<E>(s[tile][j], rows.words[tile][c][step], key[j], step);
    }
}

// The work of a block of either pass. Its warps share a KV head, and each has a query head of its group, or none.
struct Part {
    int query_heads, kv_head, head, first_row, first_tile, end_tile;
    bool active;

    __device__ Part(int group_size, int keys, int tiles_per_split) {
        int warps = blockDim.x / 32;
        int head_blocks = (group_size + warps - 1) / warps;
        int member = blockIdx.y % head_blocks * warps + warp();
        query_heads = gridDim.y / head_blocks * group_size;
        kv_head = blockIdx.y / head_blocks;
        head = kv_head * group_size + member;
        active = member < group_size;
        first_row = blockIdx.z * ROWS;
        first_tile = blockIdx.x * tiles_per_split;
        end_tile = min(first_tile + tiles_per_split, (keys + KEYS - 1) / KEYS);
    }
};

// The tiles of a part on their way through shared memory, from its start or, not `FORWARD`, from its end. The first ones are
// requested at once: after the rows, which would have to wait for them, and before all other reads.
template <int D, bool FORWARD>
struct Tiles {
    enum { SIZE = KEYS * (D / 8) };
    const Part& part;
    uint4* stages;
    const uint4* keys;
    int limit, count;

    __device__ Tiles(const Part& part, uint4* stages, const uint4* keys, int limit)
        : part(part), stages(stages), keys(keys), limit(limit), count(part.end_tile - part.first_tile) {
#pragma unroll
        for (int ahead = 0; ahead < STAGES - 1; ++ahead) fetch(ahead);
    }

    __device__ int first_key(int step) const {
        return (FORWARD ? part.first_tile + step : part.end_tile - 1 - step) * KEYS;
    }

    __device__ void fetch(int step) {
        if (step < count) fetch_keys<D>(stages + step % STAGES * SIZE, keys, first_key(step), limit);
        copy_async_commit();
    }

    // Calls body(stage, first key) for every tile. The one barrier per tile makes all threads' copies of it visible. It also
    // releases the stage of the tile before, which the next copies overwrite.
    template <typename Body>
    __device__ void for_each(Body body) {
        for (int step = 0; step < count; ++step) {
            copy_async_wait<STAGES - 2>();
            __syncthreads();
            fetch(step + STAGES - 1);
            if (part.active) body(stages + step % STAGES * SIZE, first_key(step));
        }
    }
};

// The largest logit of one row so far, and the sum of exponentials relative to it.
struct RowSum {
    float largest = MINUS_INFINITY, sum = 0.0f;

    // The logit that exponents are relative to. Before the first key any number will do: it is subtracted from minus infinity.
    static __device__ float base(float largest) { return largest == MINUS_INFINITY ? 0.0f : largest; }

    __device__ void add(const float (&logits)[8], float scale_log2) {
        float larger = largest;
#pragma unroll
        for (int e = 0; e < 8; ++e) larger = fmaxf(larger, logits[e]);
        float scaled = base(larger) * scale_log2;
        sum *= exp2_approx(fmaf(largest, scale_log2, -scaled));
#pragma unroll
        for (int e = 0; e < 8; ++e) sum += exp2_approx(fmaf(logits[e], scale_log2, -scaled));
        largest = larger;
    }

    __device__ void join(float other_largest, float other_sum, float scale_log2) {
        float larger = fmaxf(largest, other_largest);
        sum = sum * exp2_approx((largest - base(larger)) * scale_log2) +
              other_sum * exp2_approx((other_largest - base(larger)) * scale_log2);
        largest = larger;
    }

    // Over the four lanes that share the row.
    __device__ void join_lanes(float scale_log2) {
#pragma unroll
        for (int bit = 1; bit < 4; bit *= 2) {
            float other_largest = __shfl_xor_sync(~0u, largest, bit);
            float other_sum = __shfl_xor_sync(~0u, sum, bit);
            join(other_largest, other_sum, scale_log2);
        }
    }
};

// Applies the causal mask: a row does not see the keys behind its own.
__device__ inline void hide_keys(float (&s)[2][4][4], int first_row, int first_key, int candidates, int context_len) {
#pragma unroll
    for (int tile = 0; tile < 2; ++tile)
#pragma unroll
        for (int j = 0; j < 4; ++j)
#pragma unroll
            for (int e = 0; e < 4; ++e) {
                int row = first_row + 16 * tile + 8 * (e / 2) + lane() / 4;
                int key = first_key + 8 * j + 2 * (lane() % 4) + e % 2;
                if (key > min(candidates + row, context_len - 1)) s[tile][j][e] = MINUS_INFINITY;
            }
}

template <typename E, int D>
__device__ inline void attend_rows(const uint4* query, const uint4* key, float* row_max, float* row_sum,
                                   int group_size, int window_len, int context_len, int cached_len, float scale_log2,
                                   int tiles_per_split) {
    __shared__ uint4 stages[STAGES * KEYS * (D / 8)];
    Part part(group_size, context_len, tiles_per_split);
    Rows<D> rows;
    if (part.active) rows.load(query + part.head * window_len * (D / 8), part.first_row, window_len);
    Tiles<D, true> tiles(part, stages, key + part.kv_head * cached_len * (D / 8), context_len);
    int candidates = context_len - window_len;
    RowSum sums[2][2];

    tiles.for_each([&](const uint4* stage, int first) {
#pragma unroll
        for (int step = 0; step < KEYS; step += STEP) {
            float s[2][4][4];
            logits<E, D>(s, rows, stage, step);
            if (first + step + STEP > candidates + 1) hide_keys(s, part.first_row, first + step, candidates, context_len);
#pragma unroll
            for (int tile = 0; tile < 2; ++tile)
#pragma unroll
                for (int half = 0; half < 2; ++half) {
                    float own[8];
#pragma unroll
                    for (int e = 0; e < 8; ++e) own[e] = s[tile][e / 2][2 * half + e % 2];
                    sums[tile][half].add(own, scale_log2);
                }
        }
    });

    if (!part.active) return;
#pragma unroll
    for (int tile = 0; tile < 2; ++tile)
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            RowSum& own = sums[tile][half];
            own.join_lanes(scale_log2);
            int row = part.first_row + 16 * tile + 8 * half + lane() / 4;
            if (lane() % 4 == 0 && row < window_len) {
                int index = (blockIdx.x * part.query_heads + part.head) * window_len + row;
                row_max[index] = own.largest;
                row_sum[index] = own.sum;
            }
        }
}

// grid (ceil(H * w / 128)), block 128: joins the parts [splits, H, w] to [H, w], for kernels that do not join them.
extern "C" __global__ void __launch_bounds__(128)
attend_rows_join(const float* part_max, const float* part_sum, float* row_max, float* row_sum, int splits, int rows,
                 float scale_log2) {
    int row = blockIdx.x * blockDim.x + threadIdx.x;
    if (row >= rows) return;
    RowSum joined;
    for (int split = 0; split < splits; ++split)
        joined.join(part_max[split * rows + row], part_sum[split * rows + row], scale_log2);
    row_max[row] = joined.largest;
    row_sum[row] = joined.sum;
}

// The rows' largest logits, scaled, and the reciprocals of their sums, both for weights to a power. Rows behind the window
// weigh nothing.
struct Normalisers {
    float base[2][2] = {}, reciprocal[2][2] = {};

    // The four lanes that share a row take turns with the splits.
    __device__ void load(const float* row_max, const float* row_sum, const Part& part, int splits, int window_len,
                         float scale_log2, bool squared) {
        RowSum joined[2][2];
#pragma unroll 2
        for (int split = lane() % 4; split < splits; split += 4) {
            int first = (split * part.query_heads + part.head) * window_len;
#pragma unroll
            for (int tile = 0; tile < 2; ++tile)
#pragma unroll
                for (int half = 0; half < 2; ++half) {
                    int row = first + min(part.first_row + 16 * tile + 8 * half + lane() / 4, window_len - 1);
                    joined[tile][half].join(row_max[row], row_sum[row], scale_log2);
                }
        }
#pragma unroll
        for (int tile = 0; tile < 2; ++tile)
#pragma unroll
            for (int half = 0; half < 2; ++half) {
                joined[tile][half].join_lanes(scale_log2);
                if (part.first_row + 16 * tile + 8 * half + lane() / 4 >= window_len) continue;
                float scaled = joined[tile][half].largest * scale_log2, inverse = 1.0f / joined[tile][half].sum;
                base[tile][half] = squared ? 2.0f * scaled : scaled;
                reciprocal[tile][half] = squared ? inverse * inverse : inverse;
            }
    }
};

// The weights of 8 columns of a warp's rows, reduced over the lane's own rows.
template <typename Op>
__device__ inline float reduce_rows(const float (&s)[2][4][4], const Normalisers& normalisers, float scale_log2) {
    float columns[8] = {};
#pragma unroll
    for (int e = 0; e < 8; ++e)
#pragma unroll
        for (int tile = 0; tile < 2; ++tile)
#pragma unroll
            for (int half = 0; half < 2; ++half) {
                float logit = s[tile][e / 2][2 * half + e % 2];
                float power = exp2_approx(fmaf(logit, scale_log2, -normalisers.base[tile][half]));
                columns[e] = Op::of(columns[e], power * normalisers.reciprocal[tile][half]);
            }
    return reduce_columns<Op>(columns);
}

// The square of a weight is the exponential of twice the exponent. It costs no more than the weight.
template <typename E, int D>
__device__ inline void attend_columns(const uint4* query, const uint4* key, const float* row_max, const float* row_sum,
                                      float* columns, int statistic, int group_size, int window_len, int context_len,
                                      int cached_len, float scale_log2, int tiles_per_split, int splits) {
    __shared__ uint4 stages[STAGES * KEYS * (D / 8)];
    int candidates = context_len - window_len;
    Part part(group_size, candidates, tiles_per_split);
    Rows<D> rows;
    if (part.active) rows.load(query + part.head * window_len * (D / 8), part.first_row, window_len);
    // From the end of the split: the cache still holds the keys that the first pass read last.
    Tiles<D, false> tiles(part, stages, key + part.kv_head * cached_len * (D / 8), candidates);
    Normalisers normalisers;
    if (part.active)
        normalisers.load(row_max, row_sum, part, splits, window_len, scale_log2, statistic == SQUARES);
    float exponent = statistic == SQUARES ? 2.0f * scale_log2 : scale_log2;
    columns += (blockIdx.z * part.query_heads + part.head) * candidates;

    tiles.for_each([&](const uint4* stage, int first) {
#pragma unroll
        for (int step = 0; step < KEYS; step += STEP) {
            float s[2][4][4];
            logits<E, D>(s, rows, stage, step);
            float column = statistic == MAXIMA ? reduce_rows<Max>(s, normalisers, exponent)
                                               : reduce_rows<Add>(s, normalisers, exponent);
            // Column e of the 8 is key 8 (e / 2) + 2 q + e % 2, and went to lane 4 e + q.
            int e = lane() / 4;
            int own_key = first + step + 8 * (e / 2) + 2 * (lane() % 4) + e % 2;
            if (own_key < candidates) columns[own_key] = column;
        }
    });
}

// grid (splits, Hkv * ceil(G / warps), ceil(w / 32)), block 32 * warps, warps <= 4.
// rows: row_max, row_sum [splits, H, w]; columns: columns [ceil(w / 32), H, n - w].
#define ATTEND(NAME, E, D)                                                                                             \
    extern "C" __global__ void __launch_bounds__(128, 2) attend_rows_##NAME(                                              \
        const uint4* query, const uint4* key, float* row_max, float* row_sum, int group_size, int window_len,          \
        int context_len, int cached_len, float scale_log2, int tiles_per_split) {                                      \
        attend_rows<E, D>(query, key, row_max, row_sum, group_size, window_len, context_len, cached_len, scale_log2,   \
                          tiles_per_split);                                                                            \
    }                                                                                                                  \
    extern "C" __global__ void __launch_bounds__(128, 3) attend_columns_##NAME(                                           \
        const uint4* query, const uint4* key, const float* row_max, const float* row_sum, float* columns,              \
        int statistic, int group_size, int window_len, int context_len, int cached_len, float scale_log2,              \
        int tiles_per_split, int splits) {                                                                             \
        attend_columns<E, D>(query, key, row_max, row_sum, columns, statistic, group_size, window_len, context_len,    \
                             cached_len, scale_log2, tiles_per_split, splits);                                         \
    }

ATTEND(bf16_d64, Bf16, 64)
ATTEND(bf16_d128, Bf16, 128)
ATTEND(f16_d64, F16, 64)
ATTEND(f16_d128, F16, 128)
