//! Every planted fault is reported with its kernel, block, thread and line. Correct kernels are not reported.

mod common;

use common::Bench;
use laprox_ptxsim::{Access, Fault, Launch, Memory, Module};

/// `%rd3` = address of this thread's word in `a`, `%rd4` in `b`, `%r1` in the shared tile.
const PLACES: &str =
    "mul.wide.u32 %rd5, %r0, 4; add.s64 %rd3, %rd0, %rd5; add.s64 %rd4, %rd1, %rd5; mul.lo.s32 %r1, %r0, 4;";

fn bench(body: &str) -> Bench {
    Bench::new(&format!("{PLACES}\n{body}"))
}

#[test]
fn an_access_outside_of_its_allocation_is_reported() {
    for (body, access, thread) in [
        ("ld.global.u32 %r2, [%rd0+1024];", Access::Read, 0),
        ("ld.global.v4.u32 {%r2, %r3, %r4, %r5}, [%rd0+1024];", Access::Read, 0),
        ("st.global.u32 [%rd0+-4], %r0;", Access::Write, 0),
        (
            "mul.lo.s32 %r2, %r0, 64; cvt.u64.u32 %rd6, %r2; add.s64 %rd6, %rd6, %rd1; st.global.u32 [%rd6], %r0;",
            Access::Write,
            16,
        ),
        ("mov.u64 %rd6, 0; ld.global.u32 %r2, [%rd6];", Access::Read, 0),
        ("red.global.add.u32 [%rd0+2048], 1;", Access::Atomic, 0),
        ("st.shared.u32 [%r1+1020], %r0;", Access::Write, 1),
    ] {
        let (fault, found_thread, instruction) = bench(body).with(0, &[1; 256]).fault();
        assert!(
            matches!(fault, Fault::OutOfBounds { access: found, .. } if found == access),
            "{body}: {fault}"
        );
        assert_eq!(found_thread, thread, "{body}");
        assert!(body.contains(instruction.split_whitespace().next().unwrap()), "{instruction}");
    }
}

#[test]
fn freed_memory_is_no_memory() {
    let mut bench = bench("ld.global.u32 %r2, [%rd3];").with(0, &[1; 256]);
    bench.memory.free(bench.buffers[0]).unwrap();
    assert!(bench.memory.free(bench.buffers[0]).is_err());
    assert!(matches!(bench.fault().0, Fault::OutOfBounds { .. }));
}

#[test]
fn an_address_between_elements_is_reported() {
    for body in [
        "ld.global.u32 %r2, [%rd0+2];",
        "ld.global.v2.u32 {%r2, %r3}, [%rd0+4];",
        "ld.global.f64 %fd0, [%rd0+12];",
        "st.shared.v4.u32 [%r1+4], {%r0, %r0, %r0, %r0};",
    ] {
        let (fault, thread, _) = bench(body).with(0, &[1; 256]).fault();
        assert!(matches!(fault, Fault::Misaligned { .. }), "{body}: {fault}");
        assert_eq!(thread, 0);
    }
}

#[test]
fn memory_that_nobody_wrote_is_not_read() {
    let (fault, thread, _) = bench("ld.global.u32 %r2, [%rd3];").with(0, &[1; 9]).fault();
    assert_eq!((fault, thread), (Fault::Uninitialised { space: "global", address: "36".into() }, 9));
    let (fault, ..) = bench("ld.shared.u32 %r2, [%r1];").fault();
    assert!(matches!(fault, Fault::Uninitialised { space: "shared", .. }));
    let (fault, ..) = bench("red.shared.add.u32 [%r1], 1;").fault();
    assert!(matches!(fault, Fault::Uninitialised { .. }));
}

/// Shared memory does not outlive its block.
#[test]
fn another_block_starts_with_empty_shared_memory() {
    let body = "mov.u32 %r2, %ctaid.x; setp.eq.s32 %p0, %r2, 0; @%p0 st.shared.u32 [%r1], %r0; ld.shared.u32 %r3, [%r1];";
    let mut bench = bench(body).blocks(2);
    let finding = bench.run().unwrap_err();
    assert_eq!((finding.block, finding.thread), ([1, 0, 0], 0));
    assert!(finding.to_string().starts_with("kernel k, block (1, 0, 0), thread 0, PTX line"), "{finding}");
}

#[test]
fn a_register_that_was_not_written_is_not_read() {
    assert_eq!(bench("add.s32 %r2, %r3, 1;").fault().0, Fault::UnwrittenRegister);
    // Written by some lanes only, read by all.
    let (fault, thread, _) =
        bench("setp.lt.u32 %p0, %r0, 20; @%p0 mov.u32 %r3, 1; add.s32 %r2, %r3, 1;").fault();
    assert_eq!((fault, thread), (Fault::UnwrittenRegister, 20));
    assert_eq!(bench("@%p3 mov.u32 %r3, 1;").fault().0, Fault::UnwrittenRegister);
}

fn race(body: &str, blocks: u32, threads: u32) -> String {
    let (fault, ..) = bench(body).with(0, &[0; 256]).blocks(blocks).threads(threads).fault();
    let Fault::Race { other, .. } = fault else { panic!("{body}: {fault}") };
    other
}

#[test]
fn accesses_that_no_barrier_orders_are_races() {
    let twice = "st.shared.u32 [tile], %r0;";
    assert_eq!(race(twice, 1, 32), "thread 0");
    assert_eq!(race(twice, 1, 2), "thread 0");
    // Each reads its neighbour's word.
    let neighbour = "st.shared.u32 [%r1], %r0; xor.b32 %r2, %r1, 4; ld.shared.u32 %r3, [%r2];";
    assert_eq!(race(neighbour, 1, 32), "thread 1");
    // All read, one writes.
    let broadcast = "ld.global.u32 %r2, [%rd0]; setp.eq.s32 %p0, %r0, 63; @%p0 st.global.u32 [%rd0], %r0;";
    assert_eq!(race(broadcast, 1, 64), "more than one other thread");
    // Warps race as lanes do.
    let across = "st.shared.u32 [%r1], %r0; xor.b32 %r2, %r1, 128; ld.shared.u32 %r3, [%r2+0];";
    let (fault, ..) = bench(across).threads(64).fault();
    assert!(matches!(fault, Fault::Uninitialised { .. } | Fault::Race { .. }), "{fault}");
}

#[test]
fn blocks_of_a_launch_are_never_ordered() {
    assert_eq!(race("st.global.u32 [%rd3], %r0;", 2, 32), "another block");
    assert_eq!(
        race(
            "ld.global.u32 %r2, [%rd3]; mov.u32 %r3, %ctaid.x; setp.eq.s32 %p0, %r3, 2; @%p0 st.global.u32 [%rd3], %r0;",
            3,
            32
        ),
        "another block"
    );
    let one_writes = "mov.u32 %r3, %ctaid.x; setp.eq.s32 %p0, %r3, 0; @%p0 st.global.u32 [%rd3], %r0; ld.global.u32 %r2, [%rd3];";
    assert_eq!(race(one_writes, 2, 32), "another block");
}

#[test]
fn atomic_operations_are_ordered_among_each_other_only() {
    assert_eq!(
        race("red.global.add.u32 [%rd0], 1; ld.global.u32 %r2, [%rd0];", 1, 32),
        "an atomic operation"
    );
    assert_eq!(race("red.global.add.u32 [%rd0], 1; ld.global.u32 %r2, [%rd0];", 2, 1), "an atomic operation");
    assert_eq!(race("st.global.u32 [%rd3], %r0; red.global.add.u32 [%rd0+4], 1;", 1, 32), "thread 1");
    let counted = bench("red.global.add.u32 [%rd0], 3; red.global.min.u32 [%rd0+4], %r0;").with(0, &[1, 7]);
    assert_eq!(counted.blocks(3).threads(64).words(0, 2), [1 + 3 * 3 * 64, 0]);
    let shared = bench(
        "setp.eq.s32 %p0, %r0, 0; @%p0 st.shared.u32 [tile], 5; bar.sync 0; red.shared.add.u32 [tile], 2;
        bar.sync 0; ld.shared.u32 %r2, [tile]; st.global.u32 [%rd4], %r2;",
    );
    assert_eq!(shared.threads(96).words(1, 96), [5 + 2 * 96; 96]);
}

/// Barriers order, launches order, and a thread does not race with itself.
#[test]
fn what_is_ordered_is_no_race() {
    let exchange = "st.shared.u32 [%r1], %r0; bar.sync 0; xor.b32 %r2, %r1, 252; ld.shared.u32 %r3, [%r2];
        bar.sync 0; st.shared.u32 [%r2], %r3; ld.shared.u32 %r4, [%r2]; st.global.u32 [%rd4], %r4;";
    let reversed: Vec<u32> = (0..64).map(|thread| thread ^ 63).collect();
    assert_eq!(bench(exchange).threads(64).words(1, 64), reversed);

    let mut bench =
        bench("ld.global.u32 %r2, [%rd3]; add.s32 %r2, %r2, 1; st.global.u32 [%rd3], %r2;").with(0, &[0; 32]);
    bench.run().unwrap();
    bench.run().unwrap();
    assert_eq!(bench.words(0, 32), [3; 32]);
}

fn divergence(body: &str, threads: u32) -> String {
    let (fault, ..) = bench(body).threads(threads).fault();
    let Fault::DivergentBarrier { missing } = fault else { panic!("{body}: {fault}") };
    missing
}

#[test]
fn a_barrier_that_some_threads_do_not_reach_is_reported() {
    assert_eq!(divergence("setp.lt.u32 %p0, %r0, 5; @%p0 bar.sync 0;", 32), "thread 5");
    assert_eq!(divergence("setp.lt.u32 %p0, %r0, 32; @%p0 bar.sync 0;", 64), "warp 1");
    assert_eq!(divergence("setp.eq.s32 %p0, %r0, 3; @%p0 ret; bar.sync 0;", 32), "thread 3");
    assert_eq!(divergence("setp.ge.u32 %p0, %r0, 32; @%p0 ret; bar.sync 0;", 64), "warp 1");
    // Two barriers, each for its own half.
    let halves = "setp.lt.u32 %p0, %r0, 32; @%p0 bra FIRST; bar.sync 0; bra.uni END; FIRST: bar.sync 0; END:";
    assert_eq!(divergence(halves, 64), "warp 1");
}

/// Copies 16 bytes for each thread from `a` to the tile.
const COPY: &str =
    "mul.wide.u32 %rd6, %r0, 16; add.s64 %rd7, %rd0, %rd6; mul.lo.s32 %r9, %r0, 16; mov.u32 %r8, 16;
    cp.async.cg.shared.global [%r9], [%rd7], 16, %r8; cp.async.commit_group;";

fn copying(body: &str) -> Bench {
    bench(&format!("{COPY}\n{body}")).with(0, &(0..256).collect::<Vec<u32>>())
}

#[test]
fn a_copy_that_nobody_waited_for_is_reported() {
    let read = "ld.shared.u32 %r2, [%r9];";
    assert!(matches!(copying(read).fault().0, Fault::CopyUnderWay { access: Access::Read, .. }));
    let write = "st.shared.u32 [%r9], %r0;";
    assert!(matches!(copying(write).fault().0, Fault::CopyUnderWay { access: Access::Write, .. }));
    let (fault, thread, instruction) = copying("").fault();
    assert_eq!((fault, thread, instruction.as_str()), (Fault::CopyNeverAwaited { count: 1 }, 0, "ret"));
    // The wait leaves the last group under way.
    let late = "cp.async.wait_group 1; ld.shared.u32 %r2, [%r9];";
    assert!(matches!(copying(late).fault().0, Fault::CopyUnderWay { .. }));
    // A copy that is not committed is in no group that a wait completes.
    let uncommitted =
        COPY.replace("cp.async.commit_group;", "cp.async.wait_group 0; ld.shared.u32 %r2, [%r9];");
    assert!(matches!(bench(&uncommitted).with(0, &[0; 256]).fault().0, Fault::CopyUnderWay { .. }));
}

#[test]
fn a_wait_is_for_the_waiting_thread_alone() {
    let neighbour = "cp.async.wait_group 0; xor.b32 %r2, %r9, 16; ld.shared.u32 %r3, [%r2];";
    assert!(matches!(copying(neighbour).fault().0, Fault::Race { .. }));
    let ordered = "cp.async.wait_group 0; bar.sync 0; xor.b32 %r2, %r9, 16; ld.shared.u32 %r3, [%r2]; st.global.u32 [%rd4], %r3;";
    let expected: Vec<u32> = (0..32).map(|thread| 4 * (thread ^ 1)).collect();
    assert_eq!(copying(ordered).words(1, 32), expected);
}

#[test]
fn a_copy_into_what_others_still_read_is_a_race() {
    let body = format!(
        "st.shared.u32 [%r1], %r0; bar.sync 0; ld.shared.u32 %r2, [tile+64]; {COPY} cp.async.wait_group 0;"
    );
    let (fault, ..) = bench(&body).with(0, &[0; 256]).fault();
    assert!(matches!(fault, Fault::Race { access: Access::Write, .. }), "{fault}");
}

#[test]
fn a_shorter_source_is_filled_with_zeros() {
    let body = "mov.u32 %r8, 0; setp.lt.u32 %p0, %r0, 2; @%p0 mov.u32 %r8, 16; mul.lo.s32 %r9, %r0, 16;
        cp.async.cg.shared.global [%r9], [%rd0], 16, %r8; cp.async.commit_group; cp.async.wait_group 0;
        ld.shared.u32 %r2, [%r9+4]; st.global.u32 [%rd4], %r2;";
    let mut expected = [0; 32];
    expected[..2].fill(8);
    assert_eq!(bench(body).with(0, &[7, 8, 9, 10]).words(1, 32), expected);
}

#[test]
fn lanes_that_do_not_take_part_are_missed() {
    let shuffle = "setp.lt.u32 %p0, %r0, 8; @%p0 shfl.sync.bfly.b32 %r2|%p1, %r0, 1, 31, -1;";
    assert_eq!(bench(shuffle).fault().0, Fault::MissingLanes { missing: 0xffff_ff00 });
    let product = "mov.f32 %f0, 0f00000000; setp.ne.s32 %p0, %r0, 31;
        @%p0 mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%f1, %f2, %f3, %f4}, {%r0, %r0, %r0, %r0}, {%r0, %r0}, {%f0, %f0, %f0, %f0};";
    assert_eq!(bench(product).fault().0, Fault::MissingLanes { missing: 1 << 31 });
    assert_eq!(bench(product).threads(16).fault().0, Fault::MissingLanes { missing: 0xffff_0000 });
    let segments = "shfl.sync.bfly.b32 %r2|%p1, %r0, 1, 7199, -1;";
    assert!(matches!(bench(segments).fault().0, Fault::Launch(_)));
}

fn launch(change: impl FnOnce(&mut Launch<'_>)) -> String {
    let module = Module::parse(&common::text("")).unwrap();
    let parameters = [0; 24];
    let kernel = module.kernel("k").unwrap();
    let mut launch =
        Launch { kernel, grid: [1; 3], block: [32, 1, 1], dynamic_shared: 0, parameters: &parameters };
    change(&mut launch);
    let Fault::Launch(reason) = *launch.run(&mut Memory::default()).unwrap_err().fault else {
        panic!("another fault")
    };
    reason
}

#[test]
fn a_launch_that_does_not_fit_is_refused() {
    assert!(launch(|launch| launch.parameters = &[0; 20]).contains("20 bytes of parameters, expected 24"));
    assert!(
        launch(|launch| launch.block = [257, 1, 1]).contains("257 threads a block, expected at most 256")
    );
    assert!(launch(|launch| launch.grid = [1, 0, 1]).contains("empty"));
    assert!(launch(|launch| launch.grid = [1, 70_000, 1]).contains("too large"));
    assert!(launch(|launch| launch.dynamic_shared = 232_000).contains("shared memory"));
}

#[test]
fn control_that_leaves_the_kernel_is_reported() {
    let text = common::text("").replace("    ret;\n", "");
    let module = Module::parse(&text).unwrap();
    let launch = Launch {
        kernel: &module.kernels[0],
        grid: [1; 3],
        block: [1; 3],
        dynamic_shared: 0,
        parameters: &[0; 24],
    };
    let finding = launch.run(&mut Memory::default()).unwrap_err();
    assert!(matches!(*finding.fault, Fault::Launch(_)), "{finding}");
}
