//! Where Yama decides who may trace.

use crate::{PORT, crash, nobody, run_by_nobody, run_with, victim};
use std::fs;
use std::path::Path;
use support::{Folder, Program, is_in_a_guest, own_network, program, wait_until};

const SCOPE: &str = "/proc/sys/kernel/yama/ptrace_scope";

fn keeps_its_port(server: &Program) {
    own_network();
    for _ in 0..3 {
        let mut server = server.start();
        server.expect("listening");
        crash(server, PORT);
    }
}

/// The program starts, by the engine `wait`, which says why.
fn waits_because(server: &Program, why: &str) {
    own_network();
    let mut server = server.start();
    server.expect("listening");
    wait_until("the engine's name", || {
        let said = server.stderr_so_far();
        said.contains("engine wait: ") && said.contains(why)
    });
}

/// The setting is the whole machine's, and its last value can't be taken back: this is for a guest
/// of `scripts/check/kernels`.
#[test]
fn is_allowed_by_the_program_or_not_needed() {
    if !is_in_a_guest("LIBREUSE_TEST_MAY_SET_YAMA") {
        return;
    }
    assert!(Path::new(SCOPE).exists(), "this kernel has no Yama");
    let set = |scope: &str| fs::write(SCOPE, scope).expect("root may set it");
    let folder = Folder::for_other_users("engines-yama");

    set("1");
    // The control: who is not its ancestor may not trace a program of the same user's.
    let sleeper = nobody(&folder).arguments(["sleep", "1000"]).start();
    let stranger = nobody(&folder)
        .argument(program(&["strace"]))
        .arguments(["-p", &sleeper.pid().to_string()])
        .run();
    assert!(
        stranger.stderr.contains("Operation not permitted"),
        "{stranger:#?}"
    );
    keeps_its_port(&run_by_nobody(&folder, &[]));

    set("2");
    let options = ["-v", "--ports", "5000"];
    waits_because(&run_by_nobody(&folder, &options), "ptrace_scope is 2");
    keeps_its_port(&run_with::<&str>([], &victim()));

    set("3");
    waits_because(&run_with(options, &victim()), "ptrace_scope is 3");
}
