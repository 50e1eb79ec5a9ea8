//! Linker decisions of `libreuse.so`, each with its reason.
//!
//! One needs no flag: `libgcc_s` is not loaded. It comes with the standard library, for unwinding,
//! and would be most of what the shim adds to the start of every process; the release build has
//! neither (tests/spec/library.rs).

use std::env;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");

    let os = env::var("CARGO_CFG_TARGET_OS").unwrap_or_default();
    let libc = env::var("CARGO_CFG_TARGET_ENV").unwrap_or_default();
    if os != "linux" || libc != "gnu" {
        // Elsewhere TIME_WAIT follows other rules.
        println!(
            "cargo::error=the target {os} with {libc:?} has no library of its own: the one for \
             Linux with gnu serves programs of glibc and of musl, and nothing else is served"
        );
        return;
    }

    let processor = env::var("CARGO_CFG_TARGET_ARCH").unwrap_or_default();
    let width = env::var("CARGO_CFG_TARGET_POINTER_WIDTH").unwrap_or_default();
    let order = env::var("CARGO_CFG_TARGET_ENDIAN").unwrap_or_default();
    if !matches!(
        (processor.as_str(), width.as_str(), order.as_str()),
        (
            "x86_64" | "aarch64" | "riscv64" | "powerpc64",
            "64",
            "little"
        ) | ("s390x", "64", "big")
            | ("x86" | "arm", "32", "little")
    ) {
        // src/real.rs names the oldest version of dlsym, which is another one for each.
        println!(
            "cargo::error=libreuse knows x86_64, i686, aarch64, 32-bit arm, riscv64, powerpc64le \
             and s390x, and not yet this {width}-bit {order}-endian {processor}"
        );
        return;
    }

    let link = |argument: &str| println!("cargo::rustc-cdylib-link-arg={argument}");

    // Tools that package libraries ask for one. It is not what keeps the library from being loaded
    // twice: one file is known by its inode, whatever paths lead to it, and a copy of it is another
    // library, soname or not.
    link("-Wl,-soname,libreuse.so");

    // Bind every symbol while loading: lazy binding would take the loader's locks in the middle of
    // a hook, which may be running in a signal handler or in a forked child of a threaded program.
    link("-Wl,-z,now");

    // Never unmap: other libraries keep the addresses of interposed functions.
    link("-Wl,-z,nodelete");

    // A symbol that nobody provides must fail here and not in somebody's production process.
    link("-Wl,-z,defs");

    // Start-up is paid at every exec of every child, and what it costs is above all mappings: each
    // segment of the file is one mmap and about 6 of the 48 microseconds that the preload added
    // with four of them. Neither C's start files, whose tables for C++ and for profiling are looked
    // up in every library in vain, nor pages of their own for code and constants are of use here.
    // GNU ld puts the two writable segments into one as well, with the read-only part of it still
    // protected; LLVM's linker, rustc's default on some targets, cannot.
    //
    // On 32-bit ARM the start files stay: the linker takes the ABI from the first file that it
    // sees, and what rustc 1.85 puts there without them names none.
    if processor != "arm" {
        link("-nostartfiles");
    }
    link("-fuse-ld=bfd");
    link("-Wl,-z,noseparate-code");
    link("-Wl,-z,relro");

    // From 2.39 on glibc gives a process a shadow stack only if every library says that it bears
    // one. This one does: nothing in it changes a return address. The linker says so only if every
    // object does, and rustc's never do. Of IBT, the other half of the feature, nothing is said:
    // rustc does not mark the targets of indirect calls, and Linux gives no process IBT.
    if processor == "x86_64" {
        link("-Wl,-z,shstk");
    }
}
