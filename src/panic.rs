//! What a panic would do. The release build holds none: if one could be reached, the library would
//! not link, since nobody has the function that would be called. Nothing of `core` is left in it
//! that could panic, so this is dropped.

#[cfg(not(debug_assertions))]
unsafe extern "C" {
    safe fn a_panic_can_be_reached_in_libreuse() -> !;
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // If rustc points here, something that is built in the same call asks for std, as env_logger
    // does of `log`. The library that ships is built by itself: cargo build --release
    #[cfg(not(debug_assertions))]
    a_panic_can_be_reached_in_libreuse();
    // SAFETY: abort(3) takes nothing, and may be called anywhere.
    #[cfg(debug_assertions)]
    unsafe {
        libc::abort()
    }
}

// `core` comes compiled for unwinding, and names this where optimisation has not taken it out.
// Nothing unwinds here.
#[cfg(debug_assertions)]
core::arch::global_asm!(
    ".globl rust_eh_personality",
    ".hidden rust_eh_personality",
    "rust_eh_personality:",
);
