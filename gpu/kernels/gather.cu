// The end of stage select: the retained rows of K and V of one layer, packed head after head.
//
// | version      | idea                                                          | H200, 20 % of n = 32k |
// |--------------|---------------------------------------------------------------|-----------------------|
// | gather_naive | one thread per word of a row                                  | not measured          |
// | gather_rows  | one thread per 16 bytes of a row of K and the same of V, both | 0.50 ms at 20 %       |
// |              | in flight at once                                             |                       |
//
// `offsets` [Hkv + 1] are the layer's part of the model's offsets, and `positions` are all positions of the model. Nothing is
// written behind row `capacity`.

struct Retained {
    const u32 *offsets, *positions;

    __device__ int rows(int kv_head) const { return offsets[kv_head + 1] - offsets[kv_head]; }
    __device__ int from(int kv_head, int row) const { return positions[offsets[kv_head] + row]; }
    __device__ int to(int kv_head, int row) const { return offsets[kv_head] - offsets[0] + row; }
};

// ---- naive -----------------------------------------------------------------------------------------------------------

// grid (any, Hkv), block 256: packed_key, packed_value [retained rows, words].
extern "C" __global__ void __launch_bounds__(256)
gather_naive(const u32* key, const u32* value, const u32* offsets, const u32* positions, u32* packed_key,
             u32* packed_value, int cached_len, int words, int capacity) {
    Retained retained{offsets, positions};
    int kv_head = blockIdx.y;
    for (int c = blockIdx.x * 256 + threadIdx.x; c < retained.rows(kv_head) * words; c += gridDim.x * 256) {
        int from = (kv_head * cached_len + retained.from(kv_head, c / words)) * words + c % words;
        if (retained.to(kv_head, c / words) >= capacity) return;
        int to = retained.to(kv_head, c / words) * words + c % words;
        packed_key[to] = key[from];
        packed_value[to] = value[from];
    }
}

// ---- 16 bytes per thread ---------------------------------------------------------------------------------------------

// The same with words of 16 bytes, `row_words` per row, which is a power of two.
extern "C" __global__ void __launch_bounds__(256)
gather_rows(const uint4* key, const uint4* value, const u32* offsets, const u32* positions, uint4* packed_key,
            uint4* packed_value, int cached_len, int row_words, int capacity) {
    Retained retained{offsets, positions};
    int kv_head = blockIdx.y;
    int word = threadIdx.x % row_words;
    int step = 256 / row_words;
    for (int row = blockIdx.x * step + threadIdx.x / row_words; row < retained.rows(kv_head); row += gridDim.x * step) {
        int from = (kv_head * cached_len + retained.from(kv_head, row)) * row_words + word;
        if (retained.to(kv_head, row) >= capacity) return;
        int to = retained.to(kv_head, row) * row_words + word;
        uint4 own_key = key[from], own_value = value[from];
        packed_key[to] = own_key;
        packed_value[to] = own_value;
    }
}
