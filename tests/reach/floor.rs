//! Tests the oldest supported systems: which symbols of libc the library needs, and its hooks where
//! libc has no `dlsym`.

use crate::systems::{LIBRARY, Processor, System, processors, release, succeed, systems};
use std::path::PathBuf;
use std::process::Command;
use support::{HOOKS, own_network, shim};

/// The release libraries, and the one that `cargo build` makes.
fn libraries() -> Vec<PathBuf> {
    let here = ["x86_64", "i686"].into_iter();
    let machines = here.chain(processors().into_iter().map(Processor::name));
    machines
        .map(|machine| release(machine).join("lib/libreuse.so"))
        .chain([shim().to_path_buf()])
        .collect()
}

fn readelf(option: &str, library: &PathBuf) -> String {
    succeed(
        Command::new("readelf")
            .args(["--wide", option])
            .arg(library),
    )
}

#[test]
fn the_library_asks_for_glibc_2_17_and_nothing_newer() {
    for library in libraries() {
        let text = readelf("--version-info", &library);
        let versions: Vec<Vec<u32>> = text
            .split_whitespace()
            .filter_map(|word| word.strip_prefix("GLIBC_"))
            .map(|version| {
                version
                    .split('.')
                    .map(|part| part.parse().expect("a number"))
                    .collect()
            })
            .collect();
        let newest = versions.iter().max();
        // The first glibc for riscv64.
        let limit = if library.to_string_lossy().contains("riscv64") {
            vec![2, 27]
        } else {
            vec![2, 17]
        };
        assert!(
            newest.is_some_and(|newest| *newest <= limit),
            "{library:?}\n{text}"
        );
    }
}

#[test]
fn the_library_needs_libc_alone_and_exports_its_hooks_alone() {
    for library in libraries() {
        let dynamic = readelf("--dynamic", &library);
        let needed: Vec<_> = dynamic
            .lines()
            .filter(|line| line.contains("(NEEDED)"))
            .filter_map(|line| line.split_once('['))
            .map(|(_, name)| name.trim_end_matches(']'))
            .collect();
        assert_eq!(needed, ["libc.so.6"], "{library:?}");
        let symbols = readelf("--dyn-syms", &library);
        let mut exported: Vec<_> = symbols
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>())
            .filter(|columns| columns.get(3) == Some(&"FUNC") && !columns.contains(&"UND"))
            // For ppc64le there is one more column before the name.
            .filter_map(|columns| columns.last().copied())
            .collect();
        exported.sort_unstable();
        assert_eq!(exported, HOOKS, "{library:?}");
    }
}

#[test]
fn pthread_cancel_passes_through_every_hook() {
    const EXPECTED: &str = "\
bind: returned, cleaned, cancelled
listen: returned, cleaned, cancelled
setsockopt: returned, cleaned, cancelled
connect: ended there, cleaned, cancelled
close: ended there, cleaned, cancelled
blocked connect: ended there, cleaned, cancelled
";
    own_network();
    // qemu for s390x hangs at the first cancellation, with and without the shim.
    let cancels = |system: &System| *system != System::Foreign(Processor::S390x);
    for system in systems().into_iter().filter(cancels) {
        // The second is linked with an unwinder, besides the one that libc loads.
        for (name, flags) in [
            ("cancel", &[][..]),
            ("cancel-static", &["-static-libgcc"][..]),
        ] {
            let binary = system.compile(name, include_str!("cancel.c"), flags);
            for variables in [
                &[][..],
                &[("LD_PRELOAD", LIBRARY)][..],
                &[("LD_PRELOAD", LIBRARY), ("LIBREUSE_LINGER", "graceful")][..],
            ] {
                let output = system.program(&binary, variables).output();
                assert_eq!(output, EXPECTED, "{system:?} {name} {variables:?}");
            }
        }
    }
}

/// Another preloaded library with the same hooks. It links libdl, where an old libc has `dlsym`.
const OTHER: &str = r#"
/* No headers: the hooks have one type here, that of a system call. */
void *dlsym(void *, const char *);
long write(int, const void *, unsigned long);

#define HOOK(name) \
    long name(long a, long b, long c, long d, long e) \
    { \
        long (*next)(long, long, long, long, long) = dlsym((void *)-1L /* RTLD_NEXT */, #name); \
        write(1, #name "\n", sizeof #name); \
        return next(a, b, c, d, e); \
    }
HOOK(bind)
HOOK(listen)
HOOK(setsockopt)
HOOK(connect)
HOOK(close)
"#;

/// Makes each of the calls once.
const CALLS: &str = r"
#include <sys/socket.h>
#include <unistd.h>

int main(void)
{
    bind(-1, NULL, 0);
    listen(-1, 0);
    setsockopt(-1, 0, 0, NULL, 0);
    connect(-1, NULL, 0);
    close(-1);
    return 0;
}
";

#[test]
fn another_preloaded_library_keeps_its_calls_in_either_order() {
    for system in [
        System::Here,
        System::Old,
        System::Old32,
        System::Trixie,
        System::Sid,
    ] {
        let flags = [
            "-fno-builtin",
            "-shared",
            "-fPIC",
            "-Wl,--no-as-needed",
            "-ldl",
        ];
        let other = system.compile("other", OTHER, &flags);
        let binary = system.compile("calls", CALLS, &["-Wno-nonnull"]);
        let other = other.to_str().expect("the target folder's path is UTF-8");
        for preload in [format!("{LIBRARY} {other}"), format!("{other} {LIBRARY}")] {
            let output = system
                .program(&binary, &[("LD_PRELOAD", preload.as_str())])
                .output();
            assert_eq!(
                output, "bind\nlisten\nsetsockopt\nconnect\nclose\n",
                "{system:?} {preload}"
            );
        }
    }
}

#[test]
fn errors_are_the_kernels_where_there_is_no_dlsym() {
    let binary = System::Old32.compile("errors", include_str!("errors.c"), &[]);
    let plain = System::Old32.program(&binary, &[]).output();
    assert_eq!(plain.lines().count(), 10, "{plain}");
    for system in systems() {
        let binary = system.compile("errors", include_str!("errors.c"), &[]);
        // Error messages differ between C libraries.
        let plain = system.program(&binary, &[]).output();
        let shimmed = system.program(&binary, &[("LD_PRELOAD", LIBRARY)]).output();
        assert_eq!(shimmed, plain, "{system:?}");
    }
}
