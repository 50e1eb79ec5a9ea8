//! What else the dynamic linker can be told, and what it does by itself: audit modules, tunables,
//! libraries for the processor at hand. The story is the same with all of it.

use crate::restart::LEGACY;
use crate::systems::{LIBRARY, System, release};
use std::fs;
use support::{Folder, own_network, port_after_crash};

const LINKERS: [System; 4] = [System::Old, System::Here, System::Trixie, System::Sid];

/// An audit module that is asked about every object and every binding, and changes nothing.
const AUDITOR: &str = r"
#define _GNU_SOURCE
#include <link.h>

unsigned la_version(unsigned version)
{
    return version;
}

unsigned la_objopen(struct link_map *map, Lmid_t space, uintptr_t *cookie)
{
    (void)map, (void)space, (void)cookie;
    return LA_FLG_BINDTO | LA_FLG_BINDFROM;
}

uintptr_t la_symbind64(Elf64_Sym *symbol, unsigned number, uintptr_t *from, uintptr_t *to, unsigned *flags,
                       const char *name)
{
    (void)number, (void)from, (void)to, (void)flags, (void)name;
    return symbol->st_value;
}
";

#[test]
fn auditors_tunables_and_early_binding_change_nothing() {
    for system in LINKERS {
        let binary = system.compile("legacy", LEGACY, &[]);
        let auditor = system.compile("auditor", AUDITOR, &["-shared", "-fPIC"]);
        let auditor = auditor.to_str().expect("the target folder's path is UTF-8");
        for told in [
            ("LD_AUDIT", auditor),
            ("LD_BIND_NOW", "1"),
            ("LD_DYNAMIC_WEAK", "1"),
            (
                "GLIBC_TUNABLES",
                "glibc.rtld.optional_static_tls=1024:glibc.malloc.perturb=85:glibc.cpu.hwcaps=-AVX2,-AVX2_Usable",
            ),
        ] {
            for (preload, expected) in [
                (&[][..], "port 49201"),
                (&[("LD_PRELOAD", LIBRARY)][..], "port 49200"),
            ] {
                let variables = [preload, &[told]].concat();
                let port = port_after_crash(&system.program(&binary, &variables));
                assert_eq!(port, expected, "{system:?} {variables:?}");
            }
        }
    }
}

/// From glibc 2.33 on a library by its bare name may be found in a folder for the processor.
#[test]
fn the_library_is_found_among_those_for_the_processor() {
    let folder = Folder::new("hwcaps");
    let special = folder.join("glibc-hwcaps/x86-64-v2");
    fs::create_dir_all(&special).expect("the folder is ours");
    fs::copy(
        release("x86_64").join("lib/libreuse.so"),
        special.join("libreuse.so"),
    )
    .expect("the release has a library");
    let path = folder.path().to_str().expect("UTF-8");
    for system in [System::Here, System::Trixie, System::Sid] {
        let binary = system.compile("legacy", LEGACY, &[]);
        own_network();
        let variables = [("LD_LIBRARY_PATH", path), ("LD_PRELOAD", "libreuse.so")];
        let mut running = system.program(&binary, &variables).start();
        running.expect("port 49200");
        let maps = fs::read_to_string(format!("/proc/{}/maps", running.pid())).expect("it runs");
        assert!(
            maps.contains("glibc-hwcaps/x86-64-v2/libreuse.so"),
            "{system:?}\n{maps}"
        );
        running.kill();
        let port = port_after_crash(&system.program(&binary, &variables));
        assert_eq!(port, "port 49200", "{system:?}");
    }
}
