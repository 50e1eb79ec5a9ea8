//! Linker decisions of `libreuse.so`, each with its reason.
//!
//! One needs no flag: `libgcc_s` is not loaded. It comes with the standard library, for unwinding, and would be most of
//! what the shim adds to the start of every process; the release build has neither (tests/spec/library.rs).

use std::env;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");

    let os = env::var("CARGO_CFG_TARGET_OS").unwrap_or_default();
    let libc = env::var("CARGO_CFG_TARGET_ENV").unwrap_or_default();
    if os != "linux" || libc != "gnu" {
        // musl hands its .init_array no arguments and has another dlsym; elsewhere TIME_WAIT follows other rules.
        println!(
            "cargo::error=libreuse needs Linux with glibc, and this target is {os} with {libc:?}"
        );
        return;
    }

    let processor = env::var("CARGO_CFG_TARGET_ARCH").unwrap_or_default();
    let width = env::var("CARGO_CFG_TARGET_POINTER_WIDTH").unwrap_or_default();
    if !matches!(
        (processor.as_str(), width.as_str()),
        ("x86_64" | "aarch64", "64") | ("x86", "32")
    ) {
        // src/real.rs names the oldest version of dlsym, which is another one for each.
        println!(
            "cargo::error=libreuse knows x86_64, i686 and aarch64, and not yet this {width}-bit {processor}"
        );
        return;
    }

    let release = env::var("PROFILE").is_ok_and(|profile| profile == "release");
    if release && env::var_os("CARGO_FEATURE_COMMAND").is_some() {
        // With the command comes a `log` that needs std, and with std a shim seven times as big that loads libgcc_s.
        println!(
            "cargo::warning=this builds the command; `cargo build --release --lib --no-default-features` builds the \
             libreuse.so to install"
        );
    }

    let link = |argument: &str| println!("cargo::rustc-cdylib-link-arg={argument}");

    // Tools that package libraries ask for one. It is not what keeps the library from being loaded twice: one file is
    // known by its inode, whatever paths lead to it, and a copy of it is another library, soname or not.
    link("-Wl,-soname,libreuse.so");

    // Bind every symbol while loading: lazy binding would take the loader's locks in the middle of a hook, which may
    // be running in a signal handler or in a forked child of a threaded program.
    link("-Wl,-z,now");

    // Never unmap: other libraries keep the addresses of interposed functions.
    link("-Wl,-z,nodelete");

    // A symbol that nobody provides must fail here and not in somebody's production process.
    link("-Wl,-z,defs");

    // Start-up is paid at every exec of every child, and what it costs is above all mappings: each segment of the file
    // is one mmap and about 6 of the 48 microseconds that the preload added with four of them. Neither C's start files,
    // whose tables for C++ and for profiling are looked up in every library in vain, nor pages of their own for code
    // and constants are of use here. GNU ld puts the two writable segments into one as well, with the read-only part of
    // it still protected; LLVM's linker, rustc's default on some targets, cannot.
    link("-nostartfiles");
    link("-fuse-ld=bfd");
    link("-Wl,-z,noseparate-code");
    link("-Wl,-z,relro");
}
