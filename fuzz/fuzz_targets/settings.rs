//! `libreuse_fuzz::settings` on whatever libFuzzer comes up with; without it, on the files named on
//! the command line.

#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|input: &[u8]| libreuse_fuzz::settings(input));

#[cfg(not(fuzzing))]
fn main() -> std::io::Result<()> {
    libreuse_fuzz::replay(libreuse_fuzz::settings)
}
