// Shared by the kernels: types, the tensor-core product, asynchronous copies, reductions inside a warp.
//
// The files of this folder are one translation unit, this one first. They include nothing, so that NVRTC needs no
// toolkit. Index arithmetic is 32-bit: the host refuses tensors of 2^31 elements or more.

typedef unsigned int u32;
typedef unsigned long long u64;

// Element types of tensor-core operands. A fragment holds them in pairs, as raw 32-bit words.
struct Bf16 {};
struct F16 {};

// The logit of a masked key, and the largest logit before the first key.
#define MINUS_INFINITY __int_as_float(0xff800000)

__device__ inline int lane() { return threadIdx.x % 32; }
__device__ inline int warp() { return threadIdx.x / 32; }

// 2^x within 2 units in the last place, zero below 2^-126. It is one instruction. Subnormal results would take four.
__device__ inline float exp2_approx(float x) {
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

// d += a * b for a 16 x 16 tile of a and a 16 x 8 tile of b: one instruction of a warp.
//
// Lane 4 g + q holds rows g and g + 8 of a and d, column g of b, and there the inner indices 2 q, 2 q + 1 (a0, a1, b0)
// and 2 q + 8, 2 q + 9 (a2, a3, b1).
template <typename E>
__device__ inline void mma(float (&d)[4], u32 a0, u32 a1, u32 a2, u32 a3, u32 b0, u32 b1);

template <>
__device__ inline void mma<Bf16>(float (&d)[4], u32 a0, u32 a1, u32 a2, u32 a3, u32 b0, u32 b1) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
}

template <>
__device__ inline void mma<F16>(float (&d)[4], u32 a0, u32 a1, u32 a2, u32 a3, u32 b0, u32 b1) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
}

// Half of a product over 32 inner indices, with operands in memory order: 16 bytes per lane and row, words 2 s and 2 s + 1
// for step s. A sum may be taken in any order, so inner index 8 q + 4 s + e of memory plays 2 q + e, and 8 q + 4 s + 2 + e
// plays 2 q + 8 + e, in both operands. A caller with several products takes one step of each in turn, because a product
// waits for its own last step.
template <typename E>
__device__ inline void mma_step(float (&d)[4], const u32 (&a)[4], const uint4& b, int step) {
    if (step == 0) mma<E>(d, a[0], a[1], a[2], a[3], b.x, b.y);
    else mma<E>(d, a[0], a[1], a[2], a[3], b.z, b.w);
}

// Starts copying 16 bytes to shared memory, zeros if `valid` is false.
__device__ inline void copy_async(uint4* to, const uint4* from, bool valid) {
    u32 address = (u32)__cvta_generic_to_shared(to);
    int bytes = valid ? 16 : 0;
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(address), "l"(from), "r"(bytes) : "memory");
}

__device__ inline void copy_async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }

// Waits for all but the last `PENDING` groups of this thread's copies.
template <int PENDING>
__device__ inline void copy_async_wait() {
    asm volatile("cp.async.wait_group %0;" ::"n"(PENDING) : "memory");
}

struct Add {
    static __device__ float of(float one, float two) { return one + two; }
};
struct Max {
    static __device__ float of(float one, float two) { return fmaxf(one, two); }
};

// Reduces over all lanes. Every lane gets the result.
template <typename Op>
__device__ inline float reduce_warp(float value) {
#pragma unroll
    for (int bit = 16; bit > 0; bit /= 2) value = Op::of(value, __shfl_xor_sync(~0u, value, bit));
    return value;
}

// One step of `reduce_columns`: lanes that differ in `bit` keep half of `COUNT` columns each and exchange the other half.
template <typename Op, int COUNT>
__device__ inline void halve(float (&columns)[8], int bit) {
    bool upper = lane() & bit;
#pragma unroll
    for (int e = 0; e < COUNT / 2; ++e) {
        float kept = upper ? columns[e + COUNT / 2] : columns[e];
        float sent = upper ? columns[e] : columns[e + COUNT / 2];
        columns[e] = Op::of(kept, __shfl_xor_sync(~0u, sent, bit));
    }
}

// Reduces 8 columns over the 8 lanes of equal lane % 4. Lane 4 g + q gets column g. It takes 7 shuffles instead of 24.
template <typename Op>
__device__ inline float reduce_columns(float (&columns)[8]) {
    halve<Op, 8>(columns, 16);
    halve<Op, 4>(columns, 8);
    halve<Op, 2>(columns, 4);
    return columns[0];
}
