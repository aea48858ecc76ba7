//! Control flow: branches, loops, returns, and a thread's special registers.

mod common;

use common::Bench;

const STORE: &str = "mul.wide.u32 %rd5, %r0, 4; add.s64 %rd4, %rd1, %rd5; st.global.u32 [%rd4], %r5;";

#[test]
fn lanes_part_and_meet_again() {
    let body = format!(
        "and.b32 %r1, %r0, 1; setp.eq.s32 %p0, %r1, 0; @%p0 bra EVEN;
        mul.lo.s32 %r5, %r0, 10; bra.uni MEET;
        EVEN: add.s32 %r5, %r0, 1000;
        MEET: shfl.sync.bfly.b32 %r5|%p1, %r5, 1, 31, -1;
        {STORE}"
    );
    let own = |thread: u32| if thread.is_multiple_of(2) { thread + 1000 } else { thread * 10 };
    assert_eq!(Bench::new(&body).words(1, 32), (0..32).map(|thread| own(thread ^ 1)).collect::<Vec<_>>());
}

/// Each lane goes round as often as its index says; inside, every other round skips half of the body.
#[test]
fn lanes_leave_a_loop_one_by_one() {
    let body = format!(
        "mov.u32 %r5, 0; mov.u32 %r1, 0;
        LOOP: setp.ge.u32 %p0, %r1, %r0; @%p0 bra DONE;
        and.b32 %r2, %r1, 1; setp.eq.s32 %p1, %r2, 1; @%p1 bra SKIP;
        add.s32 %r5, %r5, %r1;
        SKIP: add.s32 %r1, %r1, 1; bra.uni LOOP;
        DONE: {STORE}"
    );
    let sum = |thread: u32| (0..thread).filter(|round| round.is_multiple_of(2)).sum::<u32>();
    assert_eq!(Bench::new(&body).words(1, 32), (0..32).map(sum).collect::<Vec<_>>());
}

#[test]
fn predicates_guard_single_instructions() {
    let body = format!(
        "mov.u32 %r5, 7; setp.lt.u32 %p0, %r0, 10; @%p0 mov.u32 %r5, 1; @!%p0 add.s32 %r5, %r5, 1; {STORE}"
    );
    let words = Bench::new(&body).words(1, 32);
    assert_eq!((words[9], words[10]), (1, 8));
}

#[test]
fn lanes_that_returned_stay_away() {
    let body = format!("setp.ge.u32 %p0, %r0, 3; mov.u32 %r5, 5; @%p0 ret; {STORE}");
    let mut bench = Bench::new(&body).with(1, &[9; 32]);
    bench.run().unwrap();
    assert_eq!(bench.words(1, 5), [5, 5, 5, 9, 9]);
}

/// Blocks of 40 threads in two dimensions: a whole warp and a quarter of one.
#[test]
fn threads_and_blocks_know_their_place() {
    let body = "mov.u32 %r1, %tid.y; mov.u32 %r2, %ntid.x; mad.lo.s32 %r3, %r1, %r2, %r0;
        mov.u32 %r4, %ctaid.z; mov.u32 %r6, %nctaid.z; mov.u32 %r7, %ctaid.y; mov.u32 %r8, %ntid.y;
        mad.lo.s32 %r9, %r7, %r6, %r4; mul.lo.s32 %r10, %r9, 40; add.s32 %r10, %r10, %r3;
        mul.lo.s32 %r5, %r10, %r8; mul.wide.u32 %rd5, %r10, 4; add.s64 %rd4, %rd1, %rd5; st.global.u32 [%rd4], %r5;";
    let mut bench = Bench::new(body);
    (bench.grid, bench.block) = ([1, 2, 3], [10, 4, 1]);
    assert_eq!(bench.words(1, 240), (0..240).map(|thread| 4 * thread).collect::<Vec<_>>());
}

#[test]
fn shuffles_read_from_other_lanes() {
    let body = format!(
        "shfl.sync.up.b32 %r2|%p0, %r0, 4, 0, -1; selp.u32 %r3, 100, 0, %p0;
        shfl.sync.bfly.b32 %r4|%p1, %r0, 16, 31, -1; mad.lo.s32 %r5, %r4, 1000, %r2; add.s32 %r5, %r5, %r3; {STORE}"
    );
    let expected = |lane: u32| (lane ^ 16) * 1000 + if lane < 4 { lane } else { lane - 4 + 100 };
    assert_eq!(Bench::new(&body).words(1, 32), (0..32).map(expected).collect::<Vec<_>>());
}

/// Variables without a size begin behind those with one.
#[test]
fn dynamic_shared_memory_lies_behind_the_static() {
    let body = format!(
        "mov.u64 %rd6, dynamic; mov.u64 %rd7, tile; sub.s64 %rd8, %rd6, %rd7; cvt.u32.u64 %r5, %rd8;
        st.shared.u32 [dynamic+124], %r5; {STORE}"
    );
    let mut bench = Bench::new(&body).threads(1);
    bench.dynamic_shared = 128;
    assert_eq!(bench.words(1, 1), [1024]);
    let mut short = Bench::new(&body).threads(1);
    short.dynamic_shared = 64;
    assert!(short.run().is_err());
}

#[test]
fn executed_instructions_are_counted_by_thread() {
    let mut bench = Bench::new("setp.lt.u32 %p0, %r0, 8; @%p0 ret;");
    // Four to begin with, two here, and one more for those that go on.
    assert_eq!(bench.run().unwrap().executed, 32 * 6 + 24);
}
