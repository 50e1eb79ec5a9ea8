//! Disassembles the release library: no panic, allocation or lock is reachable from a hook.

use crate::mutants::try_build;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;
use support::{HOOKS, shim};

/// What a hook may call: functions that take no lock, allocate nothing and are async-signal-safe
/// (signal-safety(7)), or bare system calls.
const SIGNAL_SAFE: [&str; 4] = [
    // libc's own names for close and connect, where there is no dlsym.
    "__close",
    "__connect",
    "__errno_location",
    "syscall",
];

/// What only the constructor may refer to; and `dlsym` also the hooks, for calls before it has run.
const AT_LOAD: [&str; 3] = ["__environ", "dl_iterate_phdr", "dlsym"];

/// The weak references of the C compiler's start files (crti.o, crtbeginS.o).
const START_FILES: [&str; 4] = [
    "_ITM_deregisterTMCloneTable",
    "_ITM_registerTMCloneTable",
    "__cxa_finalize",
    "__gmon_start__",
];

fn output(program: &str, arguments: &[&str], library: &Path) -> String {
    let output = Command::new(program)
        .args(arguments)
        .arg(library)
        .env("LC_ALL", "C")
        .output()
        .unwrap_or_else(|error| panic!("{program} (binutils): {error}"));
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).expect("names in UTF-8")
}

/// The last column of each line, without the symbol's version.
fn names(table: &str) -> BTreeSet<&str> {
    table
        .lines()
        .filter_map(|line| line.split_whitespace().last())
        .filter_map(|name| name.split('@').next())
        .collect()
}

/// Finds the symbols that each function of the library refers to. A call through a pointer refers
/// to none.
fn references(disassembly: &str) -> BTreeMap<&str, BTreeSet<&str>> {
    let mut found = BTreeMap::<_, BTreeSet<_>>::new();
    let mut function = "";
    for line in disassembly.lines() {
        let Some((_, rest)) = line.split_once('<') else {
            continue;
        };
        if let Some(name) = rest.strip_suffix(">:") {
            function = name;
        } else if let Some(name) = rest.split(['+', '@', '>']).next() {
            found.entry(function).or_default().insert(name);
        }
    }
    found
}

/// Finds all symbols that are reachable from these functions, themselves included.
fn in_reach<'a>(
    roots: impl IntoIterator<Item = &'a str>,
    references: &BTreeMap<&'a str, BTreeSet<&'a str>>,
) -> BTreeSet<&'a str> {
    let mut found = BTreeSet::new();
    let mut rest: Vec<_> = roots.into_iter().collect();
    while let Some(name) = rest.pop() {
        if found.insert(name) {
            rest.extend(references.get(name).into_iter().flatten());
        }
    }
    found
}

/// Finds everything in the library that should not be there.
fn offences(library: &Path) -> Vec<String> {
    let mut offences = Vec::new();

    let symbols = output("nm", &[], library);
    for name in names(&symbols) {
        // The panic handler, and what core calls to get there: panic_bounds_check, unwrap_failed
        // and so on.
        if ["panic", "begin_unwind", "unwrap_failed", "expect_failed"]
            .iter()
            .any(|part| name.contains(part))
        {
            offences.push(format!("panic machinery: {name}"));
        }
    }

    let undefined = output("nm", &["-D", "--undefined-only"], library);
    for name in names(&undefined) {
        if !SIGNAL_SAFE.contains(&name) && !AT_LOAD.contains(&name) && !START_FILES.contains(&name)
        {
            offences.push(format!("not known to be async-signal-safe: {name}"));
        }
    }

    let defined = output("nm", &["-D", "--defined-only"], library);
    if names(&defined) != BTreeSet::from(HOOKS) {
        offences.push(format!("exports: {:?}", names(&defined)));
    }

    let dynamic = output("readelf", &["-d"], library);
    for line in dynamic.lines().filter(|line| line.contains("(NEEDED)")) {
        if !line.ends_with("[libc.so.6]") {
            offences.push(format!("needs more than libc: {}", line.trim()));
        }
    }

    // glibc enables the shadow stack of a process only if every library is marked SHSTK.
    let notes = output("readelf", &["-n"], library);
    if cfg!(target_arch = "x86_64") && !notes.contains("SHSTK") {
        offences.push("does not say that it bears a shadow stack".into());
    }

    let disassembly = output("objdump", &["-d", "--no-show-raw-insn"], library);
    let references = references(&disassembly);
    // The sink is called through the `log` facade's pointer.
    let sink = references
        .keys()
        .copied()
        .filter(|name| name.contains("Sink"));
    // Another library's constructor may call a hook before ours has run: then it does our
    // constructor's work.
    let mut of_hooks = references.clone();
    of_hooks.retain(|function, _| !function.contains("before_our_constructor"));
    let reached = in_reach(HOOKS.into_iter().chain(sink), &of_hooks);
    for (function, mentioned) in &references {
        for name in AT_LOAD.iter().filter(|name| mentioned.contains(**name)) {
            // Before our constructor has run, hooks look the real functions up there.
            if reached.contains(function) && !(*name == "dlsym" && function.contains("resolve")) {
                offences.push(format!("{name} is in reach of a hook, in {function}"));
            }
        }
    }
    assert!(
        AT_LOAD.iter().all(|name| references
            .values()
            .any(|mentioned| mentioned.contains(name))),
        "the disassembly shows who calls what"
    );
    offences
}

#[test]
fn reaches_no_panic_no_allocation_and_no_lock() {
    assert_eq!(offences(shim()), Vec::<String>::new());
}

/// Builds the library with these statements at the start of the `close` hook, and returns its
/// offences. If it does not link, the linker's message is the offence.
fn planted(statements: &str) -> Vec<String> {
    let opening = "unsafe extern \"C\" fn close(fd: c_int) -> c_int {\n    match";
    let replacement =
        format!("unsafe extern \"C\" fn close(fd: c_int) -> c_int {{\n    {statements}\n    match");
    let library = try_build(|copy| {
        let hooks = copy.join("src/hooks.rs");
        let text = fs::read_to_string(&hooks).expect("the hooks");
        assert_eq!(text.matches(opening).count(), 1, "{opening}");
        fs::write(hooks, text.replace(opening, &replacement)).expect("the copy is ours");
    });
    library.map_or_else(|complaint| vec![complaint], |library| offences(&library))
}

/// The check above finds each planted offence, by its own message.
#[test]
fn would_be_caught_with_a_panic_an_allocation_or_a_lock() {
    const INDEX: &str = "static TABLE: [c_int; 4] = [3, 1, 4, 1];
        if TABLE[fd.unsigned_abs() as usize] == 4 { return 0; }";
    const UNWRAP: &str = "if u16::try_from(fd).unwrap() == 77 { return 0; }";
    const DIVIDE: &str = "if 1_000_000 / fd == 77 { return 0; }";
    const ALLOCATE: &str = "core::hint::black_box(unsafe { libc::malloc(9) });";
    const LOCK: &str = "static mut LOCK: libc::pthread_mutex_t = libc::PTHREAD_MUTEX_INITIALIZER;
        unsafe { libc::pthread_mutex_lock(&raw mut LOCK) };";
    const LOOK_UP: &str =
        "if unsafe { libc::dl_iterate_phdr(None, core::ptr::null_mut()) } == 77 { return 0; }";
    const ENVIRONMENT: &str =
        "if unsafe { libc::getenv(c\"HOME\".as_ptr()) }.is_null() { return 0; }";
    const PANIC: &str = "a_panic_can_be_reached_in_libreuse";
    // Each offence has its own message, so one library can have them all; with a panic it does not
    // link.
    let together = planted(&[ALLOCATE, LOCK, ENVIRONMENT, LOOK_UP].concat());
    for (offences, expected) in [
        (&together, "async-signal-safe: malloc"),
        (&together, "async-signal-safe: pthread_mutex_lock"),
        (&together, "async-signal-safe: getenv"),
        (&together, "dl_iterate_phdr is in reach of a hook"),
        (&planted(INDEX), PANIC),
        (&planted(UNWRAP), PANIC),
        (&planted(DIVIDE), PANIC),
    ] {
        assert!(
            offences.iter().any(|offence| offence.contains(expected)),
            "{expected}: {offences:?}"
        );
    }
}
