//! Builds of the shim with something taken out or put in, to see that a test notices.

use std::os::fd::AsRawFd;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::{env, fs, io};
use support::Folder;

/// A replacement in one of the crate's files.
#[derive(Clone, Copy)]
pub(crate) struct Edit<'a> {
    pub(crate) file: &'a str,
    pub(crate) text: &'a str,
    pub(crate) replacement: &'a str,
}

impl Edit<'_> {
    /// The text to be replaced, which must be there once.
    fn find_in(&self, file: &str) -> &str {
        let found = file.matches(self.text).count();
        assert_eq!(found, 1, "once in {}: {}", self.file, self.text);
        self.text
    }
}

/// The library that ships, with these edits.
pub(crate) fn build(edits: &[Edit]) -> PathBuf {
    try_build(edits).unwrap_or_else(|complaint| panic!("{complaint}"))
}

/// The same, or what the compiler or the linker has against it.
pub(crate) fn try_build(edits: &[Edit]) -> Result<PathBuf, String> {
    static ONE_AT_A_TIME: Mutex<u32> = Mutex::new(0);
    let mut number = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    *number += 1;

    let original = support::project();
    let copy = Folder::new("mutant");
    for entry in fs::read_dir(original).expect("the crate") {
        let name = entry.expect("the crate").file_name();
        // Cargo wants every file that Cargo.toml names, but builds only the library: a link will do for the rest.
        if name != "src"
            && name != "rules"
            && name != "target"
            && name != ".git"
            && name != ".cargo"
        {
            symlink(original.join(&name), copy.join(&name)).expect("a link");
        }
    }
    for folder in ["src", "rules"] {
        copy_all(&original.join(folder), &copy.join(folder));
    }
    for edit in edits {
        let path = copy.join(edit.file);
        let text = fs::read_to_string(&path).expect("a file of the crate");
        let text = text.replace(edit.find_in(&text), edit.replacement);
        // It may be a link to the original.
        fs::remove_file(&path).expect("the copy is ours");
        fs::write(path, text).expect("the copy is ours");
    }

    // Shared by all of them, so that the dependencies are built once; also by another run of the tests.
    let target = support::scratch().join("mutants");
    fs::create_dir_all(&target).expect("the target folder is ours");
    let lock = fs::File::create(target.join("lock")).expect("the target folder is ours");
    // SAFETY: flock takes any descriptor, and this one stays open until the library is copied.
    let locked = unsafe { libc::flock(lock.as_raw_fd(), libc::LOCK_EX) };
    assert_eq!(locked, 0, "{}", io::Error::last_os_error());
    let output = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--release", "--locked"])
        .arg("--target-dir")
        .arg(&target)
        // Where .cargo/config.toml is looked for.
        .current_dir(copy.path())
        .stdin(Stdio::null())
        .output()
        .expect("cargo runs");
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    let library = target.join(format!("libreuse-{}-{number}.so", std::process::id()));
    fs::copy(target.join("release/libreuse.so"), &library).expect("the library");
    drop(lock);
    Ok(library)
}

fn copy_all(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder of the crate") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_all(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("a copy");
        }
    }
}

/// A guard taken out, and the tests that must fail then; those that are not of this target begin with its name.
struct Mutant {
    edits: &'static [Edit<'static>],
    tests: &'static [&'static str],
}

const fn edit(file: &'static str, text: &'static str, replacement: &'static str) -> Edit<'static> {
    Edit {
        file,
        text,
        replacement,
    }
}

const MUTANTS: &[Mutant] = &[
    // errno
    Mutant {
        edits: &[edit("src/errno.rs", "    set(before);\n", "")],
        tests: &[
            "calls::leaves_results_and_errno_alone",
            "interrupted::serves_children_that_share_memory_and_65536_closes",
        ],
    },
    Mutant {
        edits: &[edit(
            "src/errno.rs",
            "    set(before);\n",
            "    let _ = before;\n",
        )],
        tests: &["output::writes_into_no_file_where_stderr_was_closed_from_the_start"],
    },
    Mutant {
        edits: &[edit(
            "src/hooks.rs",
            "        Ok(()) => {
            errno::set(errno_before);
",
            "        Ok(()) => {
            errno::set(errno_before & 0);
",
        )],
        tests: &["waiting::waits_through_signals_and_leaves_no_trace"],
    },
    // The caller's memory
    Mutant {
        edits: &[edit(
            "src/hooks.rs",
            "unsafe extern \"C\" fn bind(fd: c_int, address: *const sockaddr, length: socklen_t) -> c_int {\n",
            "unsafe extern \"C\" fn bind(fd: c_int, address: *const sockaddr, length: socklen_t) -> c_int {\n    \
             if unsafe { Bind::accepted(fd, address, length) }.address().is_some_and(|at| at.port == 7) { return 0; }\n",
        )],
        tests: &["calls::reads_no_memory_that_the_kernel_has_not_accepted"],
    },
    Mutant {
        edits: &[edit(
            "src/hooks.rs",
            "if result == 0 && readable {",
            "if readable {",
        )],
        tests: &["calls::reads_no_memory_that_the_kernel_has_not_accepted"],
    },
    Mutant {
        edits: &[edit(
            "src/hooks.rs",
            "if result == 0 && readable {",
            "if result == 0 {",
        )],
        tests: &["loading::reads_nothing_that_another_library_took_unread"],
    },
    Mutant {
        edits: &[edit(
            "src/hooks.rs",
            "        if self.address.is_null() {\n            return None;\n        }\n",
            "",
        )],
        tests: &["loading::reads_nothing_that_another_library_took_unread"],
    },
    // Interruptions
    Mutant {
        edits: &[edit(
            "src/signals.rs",
            "change_mask(libc::SIG_BLOCK, signals,",
            "change_mask(libc::SIG_BLOCK, signals & 0,",
        )],
        tests: &[
            "interrupted::leaves_nothing_behind_when_a_handler_jumps_out",
            "interrupted::leaves_no_option_on_a_socket_that_does_not_listen",
            "interrupted::lets_cancelled_threads_clean_up",
            "output::keeps_no_descriptor",
            "output::raises_no_sigxfsz",
        ],
    },
    Mutant {
        edits: &[edit(
            "src/signals.rs",
            "    change_mask(libc::SIG_SETMASK, before.0, None);\n",
            "",
        )],
        tests: &[
            "interrupted::leaves_the_signal_mask_alone_when_a_handler_jumps_out",
            "interrupted::serves_a_signal_handler_at_10_khz",
        ],
    },
    // glibc's own signal for asynchronous cancellation, which its sigprocmask would leave out
    Mutant {
        edits: &[edit(
            "src/signals.rs",
            ".fold(u64::MAX,",
            ".fold(u64::MAX & !only(32),",
        )],
        tests: &["interrupted::lets_cancelled_threads_clean_up"],
    },
    Mutant {
        edits: &[edit(
            "src/signals.rs",
            "    libc::SIGSYS,\n",
            "    libc::SIGTRAP,\n",
        )],
        tests: &["rights::lets_a_sandbox_answer_its_system_calls"],
    },
    Mutant {
        edits: &[edit(
            "src/signals.rs",
            "    libc::SIGTRAP,\n",
            "    libc::SIGTTOU,\n",
        )],
        tests: &["output::is_not_stopped_by_a_terminal_in_the_background"],
    },
    Mutant {
        edits: &[edit(
            "src/sink.rs",
            "            _ => None,\n        },\n",
            "            _ => Some(libc::SIGPIPE),\n        },\n",
        )],
        tests: &["interrupted::swallows_no_signal_that_somebody_else_sends"],
    },
    Mutant {
        edits: &[edit(
            "src/sink.rs",
            "libc::EFBIG if result < 0 =>",
            "libc::EFBIG if result > 0 =>",
        )],
        tests: &["output::raises_no_sigxfsz"],
    },
    // A lock in every hook
    Mutant {
        edits: &[edit(
            "rules/src/sequence.rs",
            "fn carry_out(function: Function, calls: &impl Calls, decision: Decision) {\n",
            "fn carry_out(function: Function, calls: &impl Calls, decision: Decision) {
    use core::sync::atomic::{AtomicBool, Ordering::SeqCst};
    static LOCK: AtomicBool = AtomicBool::new(false);
    while LOCK.swap(true, SeqCst) {}
    carry_out_locked(function, calls, decision);
    LOCK.store(false, SeqCst);
}
fn carry_out_locked(function: Function, calls: &impl Calls, decision: Decision) {\n",
        )],
        tests: &[
            "interrupted::serves_a_signal_handler_at_10_khz",
            "interrupted::serves_2000_forked_children_of_four_busy_threads",
        ],
    },
    // Cancellation: where the unwinder finds no tables nobody's cleanup runs, and by way of libc our own calls are
    // cancelled.
    Mutant {
        edits: &[edit(
            "build.rs",
            "    link(\"-Wl,-z,defs\");\n",
            "    link(\"-Wl,-z,defs\");\n    link(\"-Wl,--no-eh-frame-hdr\");\n",
        )],
        tests: &["interrupted::lets_cancelled_threads_clean_up"],
    },
    Mutant {
        edits: &[edit(
            "src/sink.rs",
            "libc::syscall(libc::SYS_write, fd, bytes.as_ptr(), bytes.len())",
            "libc::write(fd, bytes.as_ptr().cast(), bytes.len())",
        )],
        tests: &["interrupted::lets_cancelled_threads_clean_up"],
    },
    Mutant {
        edits: &[edit(
            "src/clock.rs",
            "            libc::syscall(
                libc::SYS_clock_nanosleep,
                libc::CLOCK_MONOTONIC,",
            "            libc::clock_nanosleep(
                libc::CLOCK_MONOTONIC,",
        )],
        tests: &["interrupted::is_not_cancelled_where_the_program_would_not_be"],
    },
    // The stack
    Mutant {
        edits: &[edit(
            "rules/src/settings.rs",
            "const LOG_FILE_ROOM: usize = 512;",
            "const LOG_FILE_ROOM: usize = 16_384;",
        )],
        tests: &["interrupted::fits_small_stacks"],
    },
    // Before the constructor, and other people's libraries
    Mutant {
        edits: &[edit(
            "src/real.rs",
            "        if address.is_null() {
            address = self.resolve();",
            "        if false {
            address = self.resolve();",
        )],
        tests: &["loading::serves_calls_before_its_own_constructor"],
    },
    Mutant {
        edits: &[edit(
            "src/clock.rs",
            "libc::syscall(libc::SYS_clock_gettime, libc::CLOCK_MONOTONIC, &raw mut now)",
            "libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now)",
        )],
        tests: &["loading::waits_by_the_real_clock"],
    },
    Mutant {
        edits: &[edit(
            "src/real.rs",
            "    let Some(dlsym) = (unsafe { DLSYM }) else {\n",
            "    let Some(dlsym) = (unsafe { DLSYM }.filter(|_| false)) else {\n",
        )],
        tests: &["loading::stands_beside_another_interposer"],
    },
    Mutant {
        edits: &[edit(
            "src/real.rs",
            "    if copies::holds(address) {\n",
            "    if copies::holds(address) && false {\n",
        )],
        tests: &["loading::stands_beside_a_library_that_asks_dlsym_for_it"],
    },
    Mutant {
        edits: &[edit(
            "src/load.rs",
            "        if copies::another_copy_is_behind() {\n",
            "        if copies::another_copy_is_behind() && false {\n",
        )],
        tests: &["loading::acts_once_where_there_are_two_of_it"],
    },
    // The one that is in front, and not any other
    Mutant {
        edits: &[edit(
            "src/copies.rs",
            "        search.past_us = holds(file.dlpi_phdr.cast());\n",
            "        search.past_us = !holds(file.dlpi_phdr.cast());\n",
        )],
        tests: &["loading::acts_once_where_there_are_two_of_it"],
    },
    // musl has no other name for close, and passes the constructor no arguments
    Mutant {
        edits: &[edit(
            "src/real.rs",
            "            concat!(\".weak \", $function),\n",
            "            concat!(\".globl \", $function),\n",
        )],
        tests: &["loading::serves_calls_from_constructors_and_destructors_of_the_program"],
    },
    // stderr
    Mutant {
        edits: &[edit(
            "src/sink.rs",
            "if format == CLOSED || !self.is(libc::STDERR_FILENO) {",
            "if format == CLOSED {",
        )],
        tests: &["output::writes_into_no_file_that_took_the_place_of_stderr"],
    },
    Mutant {
        edits: &[edit(
            "src/sink.rs",
            "\n                && file.birth == self.birth.load(Relaxed)",
            "",
        )],
        tests: &["output::writes_into_no_file_that_has_the_inode_number_of_stderr"],
    },
    Mutant {
        edits: &[edit(
            "src/sink.rs",
            "_ if takes_bytes_now(libc::STDERR_FILENO) => {",
            "_ if takes_bytes_now(libc::STDERR_FILENO) || true => {",
        )],
        tests: &["output::does_not_block_on_a_pipe_that_nobody_reads"],
    },
    // Two guards, each enough for a reader that has gone
    Mutant {
        edits: &[
            edit(
                "src/sink.rs",
                "_ if takes_bytes_now(libc::STDERR_FILENO) => {",
                "_ if true => {",
            ),
            edit(
                "src/sink.rs",
                "libc::EPIPE if result < 0 =>",
                "libc::EPIPE if result > 0 =>",
            ),
        ],
        tests: &[
            "output::raises_no_sigpipe_on_a_pipe_without_reader",
            "output::raises_no_sigpipe_when_the_reader_goes",
        ],
    },
    Mutant {
        edits: &[edit(
            "src/sink.rs",
            "libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL",
            "libc::MSG_DONTWAIT",
        )],
        tests: &["output::raises_no_sigpipe_on_a_socket_without_reader"],
    },
    Mutant {
        edits: &[edit(
            "src/sink.rs",
            "libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL",
            "libc::MSG_NOSIGNAL",
        )],
        tests: &["output::does_not_block_on_a_socket_that_nobody_reads"],
    },
    // The log file
    Mutant {
        edits: &[edit(
            "src/sink.rs",
            "        | libc::O_NONBLOCK;",
            "        | 0;",
        )],
        tests: &["output::bears_a_fifo"],
    },
    Mutant {
        edits: &[edit("src/sink.rs", "        | libc::O_NOFOLLOW\n", "")],
        tests: &["output::follows_no_link_to_a_log_file"],
    },
    Mutant {
        edits: &[edit("src/sink.rs", "        | libc::O_CREAT\n", "")],
        tests: &["output::makes_a_deleted_log_file_again"],
    },
    Mutant {
        edits: &[edit(
            "src/sink.rs",
            "unsafe { libc::syscall(libc::SYS_close, fd) };",
            "let _ = fd;",
        )],
        tests: &["output::keeps_no_descriptor"],
    },
    Mutant {
        edits: &[edit(
            "src/sink.rs",
            "    let Some(fd) = open_file(&path.bytes, flags) else {
        return;
    };",
            "    let Some(fd) = open_file(&path.bytes, flags) else {
        unsafe { libc::abort() }
    };",
        )],
        tests: &[
            "output::needs_no_descriptor",
            "output::bears_a_log_file_that_cannot_be_written",
        ],
    },
    Mutant {
        edits: &[edit(
            "src/sink.rs",
            "            libc::EFBIG if result < 0 =>",
            "            libc::ENOSPC if result < 0 => unsafe { libc::abort() },
            libc::EFBIG if result < 0 =>",
        )],
        tests: &["output::bears_a_full_disk"],
    },
    // Rights and variables
    Mutant {
        edits: &[edit(
            "src/load.rs",
            "libc::getauxval(libc::AT_SECURE) != 0",
            "libc::getauxval(libc::AT_SECURE) > 1",
        )],
        tests: &["rights::obeys_no_variable_in_a_program_with_more_rights"],
    },
    Mutant {
        edits: &[edit(
            "src/hooks.rs",
            "unsafe extern \"C\" fn close(fd: c_int) -> c_int {\n",
            "unsafe extern \"C\" fn close(fd: c_int) -> c_int {\n    \
             errno::kept(|| libreuse_rules::calls::Calls::option(&Socket(fd), SocketOption::ReuseAddress));\n",
        )],
        tests: &["rights::makes_no_system_call_that_the_program_does_not_make"],
    },
    Mutant {
        edits: &[edit(
            "src/sink.rs",
            "    if settings.log < LevelFilter::Info && !waiting {\n",
            "    if settings.log < LevelFilter::Off && !waiting {\n",
        )],
        tests: &["rights::makes_no_system_call_to_be_loaded"],
    },
    Mutant {
        edits: &[edit(
            "rules/src/settings.rs",
            "if byte == b' ' || byte.is_ascii_graphic() {",
            "if byte == b' ' || byte.is_ascii_graphic() || byte == b'\\n' {",
        )],
        tests: &["rights::survives_values_of_any_content"],
    },
    // A terminal that has room for a part of a line
    Mutant {
        edits: &[edit(
            "src/sink.rs",
            "libc::S_IFCHR if self.write_without_waiting(line) => {}",
            "libc::S_IFCHR if false && self.write_without_waiting(line) => {}",
        )],
        tests: &["output::does_not_block_on_a_terminal_that_nobody_reads"],
    },
    // The wait
    Mutant {
        edits: &[edit(
            "rules/src/sequence.rs",
            " || calls.file() != file",
            "",
        )],
        tests: &["waiting::lets_go_of_a_descriptor_that_stands_for_something_else"],
    },
    Mutant {
        edits: &[edit(
            "src/clock.rs",
            "    if result != 0 {
        return None;
    }
",
            "    let _ = result;\n",
        )],
        tests: &["rights::ends_its_wait_when_the_clock_stops"],
    },
    Mutant {
        edits: &[edit(
            "src/clock.rs",
            "            return false;",
            "            return true;",
        )],
        tests: &["rights::does_not_wait_in_a_sandbox_without_a_clock"],
    },
    Mutant {
        edits: &[edit(
            "rules/src/sequence.rs",
            "if left == 0 || !calls",
            "if !calls",
        )],
        tests: &["waiting::waits_through_signals_and_leaves_no_trace"],
    },
    Mutant {
        edits: &[edit(
            "rules/src/sequence.rs",
            "        if address {
            calls.set_option(SocketOption::ReuseAddress, 0);
        }
",
            "        let _ = address;\n",
        )],
        tests: &["waiting::waits_through_signals_and_leaves_no_trace"],
    },
    Mutant {
        edits: &[edit(
            "rules/src/sequence.rs",
            "        now = calls.now_ms();
",
            "        now = calls.now_ms().or(now);
",
        )],
        tests: &["rights::ends_its_wait_when_the_clock_stops"],
    },
    Mutant {
        edits: &[edit(
            "rules/src/sequence.rs",
            "if !settings.wait_for_listeners && calls.is_listened_at(address) {",
            "if false {",
        )],
        tests: &[
            "rights::waits_in_a_sandbox_that_shows_no_listeners",
            "spec::wait::tells_the_listener_that_is_in_the_way_from_others",
        ],
    },
    Mutant {
        edits: &[edit(
            "rules/src/report.rs",
            "    log::warn!(
        \"bind {address}: in use, waiting",
            "    log::info!(
        \"bind {address}: in use, waiting",
        )],
        tests: &["spec::log::tells_of_waiting_by_default_and_of_loading_only_when_asked_to"],
    },
    // Whose option it is
    Mutant {
        edits: &[edit(
            "rules/src/policy.rs",
            "if wanted.reuse_address && !carried =>",
            "if wanted.reuse_address && !carried && false =>",
        )],
        tests: &["spec::connect::leaves_a_connection_without_the_option_that_never_had_it"],
    },
    // Two guards, each enough for what can't listen, and one of them for what may not
    Mutant {
        edits: &[
            edit(
                "rules/src/policy.rs",
                "        Some(_) => return Decision::StepAside(Reason::Underway),",
                "        Some(_) => {}",
            ),
            edit(
                "rules/src/sequence.rs",
                "if done.reuse_address && result",
                "if false && result",
            ),
        ],
        tests: &["interrupted::leaves_no_option_behind_a_listen_that_fails"],
    },
    Mutant {
        edits: &[edit(
            "rules/src/sequence.rs",
            "if done.reuse_address && result",
            "if false && result",
        )],
        tests: &["interrupted::leaves_no_option_behind_a_listen_that_fails"],
    },
    Mutant {
        edits: &[edit(
            "rules/src/sequence.rs",
            "result.is_err_and(|error| error != Errno::IN_USE)",
            "result.is_err()",
        )],
        tests: &["spec::bind::lets_one_of_two_listen_that_are_bound_to_one_port"],
    },
    // Peers that look late
    Mutant {
        edits: &[edit(
            "rules/src/policy.rs",
            "        _ => Ending::Remembered,",
            "        _ => Ending::Forgotten,",
        )],
        tests: &[
            "spec::late::costs_no_client_that_looks_late_its_connection",
            "spec::late::loses_nothing_of_a_client_that_sends_and_closes",
        ],
    },
    Mutant {
        edits: &[edit(
            "rules/src/calls.rs",
            "received && options & TCPI_OPT_SYN_DATA == 0",
            "received && options | TCPI_OPT_SYN_DATA != 0",
        )],
        tests: &["spec::late::costs_no_client_its_connection_that_it_opened_fast"],
    },
    // Shared descriptors
    Mutant {
        edits: &[edit(
            "rules/src/sequence.rs",
            "Ending::Forgotten => calls.set_option(SocketOption::Linger2, -1),",
            "Ending::Forgotten => calls.reset_on_close(),",
        )],
        tests: &[
            "handed::loses_no_byte_that_a_forked_worker_sends",
            "handed::loses_no_byte_when_the_worker_closes_first",
            "handed::loses_no_byte_when_the_worker_just_exits",
            "handed::loses_no_byte_of_a_passed_connection",
            "handed::loses_no_byte_of_a_passed_connection_when_the_worker_closes_first",
            "handed::loses_no_byte_under_socket_activation",
        ],
    },
    Mutant {
        edits: &[edit(
            "rules/src/policy.rs",
            "        _ if heard => Ending::Forgotten,",
            "        _ if heard => Ending::AsItIs,",
        )],
        tests: &["handed::loses_no_byte_under_socket_activation"],
    },
];

/// The shim may change: then the table must, and not only when somebody runs all of it.
#[test]
fn each_finds_its_place() {
    for edit in MUTANTS.iter().flat_map(|mutant| mutant.edits) {
        let path = support::project().join(edit.file);
        edit.find_in(&fs::read_to_string(path).expect("a file of the crate"));
    }
}

#[test]
#[ignore = "an hour's work for a machine: scripts/check/mutants runs it on demand"]
fn each_guard_is_held_by_a_test() {
    let wanted = env::var("LIBREUSE_MUTANT").unwrap_or_default();
    let mut survivors = Vec::new();
    for (number, mutant) in MUTANTS.iter().enumerate() {
        if !wanted.is_empty() && !wanted.split(',').any(|one| one == number.to_string()) {
            continue;
        }
        let library = build(mutant.edits);
        for test in mutant.tests {
            let (mut command, test) = match test.strip_prefix("spec::") {
                None => (
                    Command::new(env::current_exe().expect("this program")),
                    *test,
                ),
                Some(test) => {
                    let mut command = Command::new(env!("CARGO"));
                    command
                        .args(["test", "--quiet", "--package", "libreuse-tests"])
                        .args(["--test", "spec", "--"])
                        .current_dir(support::project());
                    (command, test)
                }
            };
            let output = command
                .args(["--exact", test])
                .env("LIBREUSE_TEST_LIBRARY", &library)
                .stdin(Stdio::null())
                .output()
                .expect("this program runs");
            let printed = String::from_utf8_lossy(&output.stdout);
            assert!(printed.contains("running 1 test"), "no such test: {test}");
            let verdict = if output.status.success() {
                survivors.push((number, test));
                "SURVIVES"
            } else {
                "is noticed by"
            };
            println!("{number} in {} {verdict} {test}", mutant.edits[0].file);
        }
    }
    assert_eq!(survivors, [], "guards that no test holds");
}
