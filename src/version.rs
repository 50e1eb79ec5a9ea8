//! The library's version, for whoever has the file: an ELF note that no segment holds, so that a process which loads the
//! library does not load it, and that `strip` leaves. `readelf --notes` shows it, and the command reads it.

// Three numbers, the name and what is said under it, each string with its zero and filled up to four bytes (elf(5)).
core::arch::global_asm!(
    r#".pushsection .note.libreuse, "", %note"#,
    ".balign 4",
    ".long 3f - 2f, 5f - 4f, 1",
    r#"2: .asciz "libreuse""#,
    "3: .balign 4",
    concat!(r#"4: .asciz ""#, env!("CARGO_PKG_VERSION"), r#"""#),
    "5: .balign 4",
    ".popsection",
);
